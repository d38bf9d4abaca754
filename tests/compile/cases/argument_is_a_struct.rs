use purlin::post;

struct Upload {
    bytes: Vec<u8>,
}

async fn upload(upload: Upload) -> String {
    upload.bytes.len().to_string()
}

fn main() {
    post(upload);
}
