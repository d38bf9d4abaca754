//! A site with a part for each way of running.
//!
//! `cargo run --features cgi,workers,wsgi --example ways_of_running`, then http://127.0.0.1:8000/; with `stack` behind it, the layers are
//! printed with the processes that they run in. `src/stack.rs` is the file to read, and docs/running.md the page that compares them.

mod stack;

fn main() -> std::process::ExitCode {
    purlin::run(stack::stack)
}

#[cfg(test)]
mod tests {
    use purlin::testing::Client;

    #[tokio::test]
    async fn each_part_answers() {
        let client = Client::new(super::stack::stack(purlin::Config::default()).unwrap());
        let page = client.get("/").await;
        let links = page.links();
        assert_eq!(links.len(), 6);
        for link in links {
            // What needs a server or an interpreter that may not be there is not asked.
            if !["/php/", "/old/guestbook"].contains(&link.href.as_str()) {
                client.get(&link.href).await.assert_status(200);
            }
        }
    }
}
