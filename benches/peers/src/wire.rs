//! HTTP/1.1 as the load speaks it: answers read one after the other, counted without being kept.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection to a server, kept alive.
pub struct Wire {
    stream: TcpStream,
    buffer: Box<[u8]>,
    /// What has been read and not yet been used.
    start: usize,
    end: usize,
}

/// What every answer is checked by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    pub status: u16,
    /// Bytes of the body, as they were before any chunks.
    pub length: usize,
}

/// An answer, kept.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// The lines of the head.
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header; the first of several.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The cookies it sets, as a request sends them.
    pub fn cookies(&self) -> String {
        let set = self
            .head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
        let set = set.map(|(_, value)| value.split(';').next().unwrap_or_default().trim());
        set.collect::<Vec<_>>().join("; ")
    }
}

impl Wire {
    pub async fn connect(address: &str) -> Self {
        Self::over(TcpStream::connect(address).await.expect("it listens"), 256 * 1024)
    }

    /// A connection that reads so many bytes at most at once, which is also the longest head.
    pub fn over(stream: TcpStream, buffer: usize) -> Self {
        stream.set_nodelay(true).expect("a socket");
        Self { stream, buffer: vec![0; buffer].into(), start: 0, end: 0 }
    }

    /// Sends a request, and returns its answer.
    pub async fn ask(&mut self, request: &[u8]) -> Answer {
        self.send(request).await;
        let (mut head, mut body) = (Vec::new(), Vec::new());
        let seen = self.next(|bytes| head.extend_from_slice(bytes), |bytes| body.extend_from_slice(bytes)).await;
        assert_eq!(self.start, self.end, "one answer to one request");
        Answer { status: seen.status, head: String::from_utf8(head).expect("ASCII"), body }
    }

    pub async fn send(&mut self, request: &[u8]) {
        self.stream.write_all(request).await.expect("it reads");
    }

    /// Reads the next answer, and throws it away.
    pub async fn skim(&mut self) -> Seen {
        self.next(|_| {}, |_| {}).await
    }

    async fn next(&mut self, head: impl FnOnce(&[u8]), mut body: impl FnMut(&[u8])) -> Seen {
        let length = self.until(b"\r\n\r\n").await;
        let bytes = &self.buffer[self.start..self.start + length];
        let status = bytes.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no answer: {}", String::from_utf8_lossy(bytes)));
        let framing = Framing::of(status, bytes);
        head(bytes);
        self.start += length;
        let length = match framing {
            Framing::Length(length) => {
                self.pass(length, &mut body).await;
                length
            }
            Framing::Chunked => {
                let mut length = 0;
                loop {
                    let line = self.until(b"\r\n").await;
                    let size = std::str::from_utf8(&self.buffer[self.start..self.start + line - 2]).expect("ASCII");
                    let size = usize::from_str_radix(size, 16).expect("the size of a chunk");
                    self.start += line;
                    self.pass(size, &mut body).await;
                    assert_eq!(self.until(b"\r\n").await, 2, "a chunk ends with a line");
                    self.start += 2;
                    length += size;
                    if size == 0 {
                        break length;
                    }
                }
            }
        };
        Seen { status, length }
    }

    /// So many bytes lie there up to the end of this.
    async fn until(&mut self, end: &[u8]) -> usize {
        loop {
            if let Some(at) = memchr::memmem::find(&self.buffer[self.start..self.end], end) {
                return at + end.len();
            }
            self.fill().await;
        }
    }

    /// Takes so many bytes off.
    async fn pass(&mut self, mut length: usize, body: &mut impl FnMut(&[u8])) {
        while length > 0 {
            if self.start == self.end {
                self.fill().await;
            }
            let here = length.min(self.end - self.start);
            body(&self.buffer[self.start..self.start + here]);
            self.start += here;
            length -= here;
        }
    }

    /// Reads more.
    async fn fill(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            assert!(self.start > 0, "a head longer than {} bytes", self.buffer.len());
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let read = self.stream.read(&mut self.buffer[self.end..]).await.expect("it answers");
        assert!(
            read > 0,
            "the server closed the connection: {:?}",
            String::from_utf8_lossy(&self.buffer[self.start..self.end])
        );
        self.end += read;
    }
}

/// How the end of a body is found (RFC 9112 §6.3).
enum Framing {
    Length(usize),
    Chunked,
}

impl Framing {
    fn of(status: u16, head: &[u8]) -> Self {
        if matches!(status, 204 | 304) {
            return Self::Length(0);
        }
        let mut rest = head;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let line = &rest[..end];
            if let Some(value) = after(line, b"content-length:") {
                let value = std::str::from_utf8(value).ok().and_then(|value| value.trim().parse().ok());
                return Self::Length(value.expect("a length"));
            }
            if after(line, b"transfer-encoding:").is_some() {
                return Self::Chunked;
            }
            rest = &rest[end + 1..];
        }
        panic!("neither a length nor chunks: {}", String::from_utf8_lossy(head))
    }
}

fn after<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, value) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then_some(value)
}
