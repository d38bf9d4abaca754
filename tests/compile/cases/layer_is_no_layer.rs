use purlin::Stack;

struct Compress;

fn main() {
    let _ = Stack::new().layer(Compress);
}
