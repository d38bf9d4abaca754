use purlin::get;

fn show(id: u32) -> String {
    id.to_string()
}

fn main() {
    get(show);
}
