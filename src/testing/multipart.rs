//! Bodies of `multipart/form-data` (RFC 7578), as browsers write them.

use bytes::Bytes;

/// The parts of a form with files, to be sent by [`RequestBuilder::multipart`](super::RequestBuilder::multipart).
///
/// ```
/// use purlin::testing::Multipart;
/// let form = Multipart::new().text("title", "A cat").file("photo", "cat.png", "image/png", vec![0x89, 0x50]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Multipart {
    body: Vec<u8>,
}

/// No text holds it by accident, and a test that fails does so twice in the same way.
const BOUNDARY: &str = "----purlin-4b6fd2c1a95e4b0f8d37";

impl Multipart {
    /// No parts yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a field.
    pub fn text(mut self, name: &str, value: &str) -> Self {
        self.begin(&format!("name=\"{}\"", quoted(name)));
        self.body.extend_from_slice(b"\r\n");
        self.end(value.as_bytes())
    }

    /// Adds a file.
    pub fn file(mut self, name: &str, file_name: &str, content_type: &str, content: impl AsRef<[u8]>) -> Self {
        self.begin(&format!("name=\"{}\"; filename=\"{}\"", quoted(name), quoted(file_name)));
        self.body.extend_from_slice(format!("Content-Type: {content_type}\r\n\r\n").as_bytes());
        self.end(content.as_ref())
    }

    fn begin(&mut self, parameters: &str) {
        let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; {parameters}\r\n");
        self.body.extend_from_slice(head.as_bytes());
    }

    fn end(mut self, content: &[u8]) -> Self {
        self.body.extend_from_slice(content);
        self.body.extend_from_slice(b"\r\n");
        self
    }

    /// The content type and the body.
    pub(super) fn finish(mut self) -> (String, Bytes) {
        self.body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        (format!("multipart/form-data; boundary={BOUNDARY}"), self.body.into())
    }
}

/// Escapes a name as browsers do (HTML §4.10.21.8).
fn quoted(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_framed_as_browsers_frame_them() {
        let form = Multipart::new().text("a \"b\"", "1\r\n2").file("f", "x.txt", "text/plain", "hey");
        let (content_type, body) = form.finish();
        assert_eq!(content_type, format!("multipart/form-data; boundary={BOUNDARY}"));
        let expected = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"a %22b%22\"\r\n\r\n1\r\n2\r\n\
             --{BOUNDARY}\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x.txt\"\r\n\
             Content-Type: text/plain\r\n\r\nhey\r\n--{BOUNDARY}--\r\n"
        );
        assert_eq!(body, expected);
    }
}
