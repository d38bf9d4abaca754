//! Starts the site.

fn main() {
    println!("{}", {{ cookiecutter.__quoted_name }});
}
