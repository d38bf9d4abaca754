use purlin::get;

fn fails() -> Result<String, String> {
    Err("no luck".to_owned())
}

fn main() {
    get(fails);
}
