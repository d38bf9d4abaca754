//! Builds again when a migration is added: the release build has them in it.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
