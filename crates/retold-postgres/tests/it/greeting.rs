//! A server that is broken, or is not PostgreSQL, is limited in what it can send before it has
//! accepted the login.

use std::time::Duration;

use retold_core::recording::RecordError;
use retold_postgres::PostgresStore;
use retold_postgres::limits::GREETING_SIZE_MAX;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::database::block_on;

/// Longest wait for the refusal.
const PATIENCE: Duration = Duration::from_secs(60);

/// Returns the error of opening a store at a server that sends these responses to any request.
fn said_of(parameters: &str, answers: &[&[u8]]) -> String {
    let opened = block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers: Vec<Vec<u8>> = answers.iter().map(|it| it.to_vec()).collect();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            for answer in answers {
                let mut asked = [0; 1024];
                let length = stream.read(&mut asked).await.unwrap();
                assert!(length > 0, "the client sends a request first");
                // The client closes in the middle of it.
                let _ = stream.write_all(&answer).await;
            }
            // Until the client disconnects.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
        let url = format!("postgres://retold@127.0.0.1:{port}/dogs?{parameters}");
        let opened = tokio::time::timeout(PATIENCE, PostgresStore::open(&url)).await;
        server.abort();
        opened.expect("refused at once").map(drop)
    });
    match opened {
        Err(RecordError::Unavailable(error)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_server_that_announces_a_large_message_is_refused() {
    let large = [b'R', 0x7f, 0xff, 0xff, 0xff, 0, 0];
    let error = [b'E', 0x00, 0x10, 0x00, 0x00, 0];
    for message in [&large[..], &error] {
        let said = said_of("sslmode=disable", &[message]);
        assert!(said.contains("are taken at most"), "{said}");
        let said = said_of("sslmode=prefer", &[b"N", message]);
        assert!(said.contains("are taken at most"), "{said}");
    }
    // After accepting the login it may send more, but it is not ready yet.
    let let_in = [&[b'R', 0, 0, 0, 8, 0, 0, 0, 0][..], &large].concat();
    let said = said_of("sslmode=disable", &[&let_in]);
    assert!(said.contains("are taken at most"), "{said}");
}

#[test]
fn a_server_that_sends_much_before_the_login_is_refused() {
    let mut parameter = vec![b'S', 0, 0, 0, 40];
    parameter.extend([b'a'; 17]);
    parameter.push(0);
    parameter.extend([b'b'; 17]);
    parameter.push(0);
    let let_in = [b'R', 0, 0, 0, 8, 0, 0, 0, 0];
    let much = parameter.repeat(GREETING_SIZE_MAX / parameter.len() + 1);
    let said = said_of("sslmode=disable", &[&[&let_in[..], &much].concat()]);
    assert!(said.contains("are taken at most"), "{said}");
}

#[test]
fn a_server_of_another_kind_is_refused() {
    let said = said_of("sslmode=disable", &[b"HTTP/1.1 400 Bad Request\r\n\r\n"]);
    assert!(said.contains("is it a PostgreSQL server"), "{said}");
}
