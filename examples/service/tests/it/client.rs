//! An HTTP/1.1 client with one connection per request, no TLS, and JSON bodies.

use std::net::SocketAddr;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper::{HeaderMap, Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::patience::{in_time, until};

/// Sends requests to one service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
}

/// A response of the service.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answered {
    /// Returns the text of a header; empty if it is missing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |it| it.to_str().unwrap())
    }

    /// Returns the token of a command's response.
    pub(crate) fn token(&self) -> String {
        let token = self.header("retold-position");
        assert!(!token.is_empty(), "no token: {self:?}");
        token.to_owned()
    }

    /// Returns the last part of the problem's type.
    #[track_caller]
    pub(crate) fn problem(&self) -> &str {
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.body["status"], self.status);
        assert!(self.body["detail"].is_string(), "{self:?}");
        let kind = self.body["type"].as_str().unwrap();
        kind.strip_prefix("/problems/").unwrap()
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
}

impl Client {
    pub(crate) async fn get(&self, path: &str) -> Answered {
        self.send(Method::GET, path, &[], "").await
    }

    /// Waits until the service takes requests.
    pub(crate) async fn until_ready(&self) {
        until("it is ready", async || {
            self.get("/health/ready").await.status == 200
        })
        .await;
    }

    /// Adds the token of an earlier response.
    pub(crate) async fn get_after(&self, path: &str, token: &str) -> Answered {
        let headers = [("retold-after", token)];
        self.send(Method::GET, path, &headers, "").await
    }

    /// Announces a show.
    pub(crate) async fn announce(&self, show: &str, seats: u32) -> Answered {
        let body = format!(r#"{{"title": "The {show}", "seats": {seats}}}"#);
        let path = format!("/shows/{show}");
        self.send(Method::PUT, &path, &[], &body).await
    }

    /// Requests seats.
    pub(crate) async fn ask(&self, key: &str, show: &str, seats: u32) -> Answered {
        let body = format!(r#"{{"show": "{show}", "guest": "Ada", "seats": {seats}}}"#);
        let headers = [("idempotency-key", key)];
        self.send(Method::POST, "/bookings", &headers, &body).await
    }

    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)]) -> Answered {
        self.send(Method::POST, path, headers, "").await
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answered {
        let answered = self.try_send(method, path, headers, body);
        in_time(path, answered).await.unwrap()
    }

    pub(crate) async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Answered, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(self.address).await?;
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.address.to_string())
            .header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body.to_owned())))?;
        let response = sender.send_request(request).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        connection.abort();
        Ok(Answered {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        })
    }
}
