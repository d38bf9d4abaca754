use purlin::get;
use std::sync::Mutex;

fn main() {
    let visits = Mutex::new(0);
    get(move || {
        *visits.lock().unwrap() += 1;
        "counted"
    });
}
