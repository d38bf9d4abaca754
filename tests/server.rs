//! The server, over real sockets and in memory.

use purlin::server::Server;
use purlin::{Router, Stack, get};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn app() -> impl purlin::Service {
    Stack::new().app(Router::new().route("/", get(async || "hello")))
}

#[tokio::test]
async fn a_server_answers_over_tcp_until_it_is_told_to_stop() {
    let bound = Server::new().listen("127.0.0.1:0".parse().unwrap()).bind().unwrap();
    let address = bound.addresses()[0].to_string();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(bound.serve(app(), async {
        let _ = stopped.await;
    }));
    let mut client = TcpStream::connect(&address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut answer = [0; 1024];
    let read = client.read(&mut answer).await.unwrap();
    assert!(answer[..read].starts_with(b"HTTP/1.1 200 OK\r\n"));
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
    assert_eq!(client.read(&mut answer).await.unwrap(), 0);
}
