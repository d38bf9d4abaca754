use purlin::{Submitted, post};

#[derive(serde::Deserialize)]
struct Guest {
    name: String,
}

async fn sign(mut form: Submitted<Guest>) -> String {
    form.accept().map(|guest| guest.name).unwrap_or_default()
}

fn main() {
    let _ = post(sign);
}
