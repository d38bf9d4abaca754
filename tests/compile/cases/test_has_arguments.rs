#[purlin::test]
async fn a_guest_signs(name: &str) {
    let _ = name;
}

fn main() {}
