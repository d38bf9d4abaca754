//! What the page {{ path }} promises.

use purlin::Config;
use purlin::testing::Client;

use {{ crate_name }}::stack::stack;

fn site() -> Client {
    let config = Config::for_tests().expect("the settings are right");
    Client::new(stack(config).expect("the site fits together"))
}

