//! Tests of the README: every `curl` line in it is sent, and has the stated status.

use hyper::Method;

use crate::client::{Answered, Client};
use crate::running::Running;

const README: &str = include_str!("../../README.md");

/// A line of `curl`, with the options that the README uses.
#[derive(Debug, Default)]
struct Line {
    method: Option<Method>,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
    status: u16,
}

impl Line {
    fn parse(line: &str) -> Self {
        let (command, status) = line
            .rsplit_once("  # ")
            .expect("a status after the command");
        let mut parsed = Self {
            status: status.parse().unwrap(),
            ..Self::default()
        };
        let mut words = words(command).into_iter().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "-i" => {}
                "-X" => parsed.method = words.next().unwrap().parse().ok(),
                "-H" => {
                    let header = words.next().unwrap();
                    let (name, value) = header.split_once(": ").unwrap();
                    parsed.headers.push((name.into(), value.into()));
                }
                "--json" => parsed.body = words.next().unwrap(),
                url => parsed.path = url.strip_prefix("$U").unwrap().to_owned(),
            }
        }
        parsed
    }

    async fn send(&self, client: Client, token: &str, booking: &str) -> Answered {
        let filled = |text: &str| text.replace("$TOKEN", token).replace("$BOOKING", booking);
        let default = match self.body.is_empty() {
            true => Method::GET,
            false => Method::POST,
        };
        let method = self.method.clone().unwrap_or(default);
        let headers = self.headers.iter();
        let headers: Vec<_> = headers
            .map(|(name, it)| (name.as_str(), filled(it)))
            .collect();
        let headers: Vec<_> = headers.iter().map(|(name, it)| (*name, &**it)).collect();
        let path = filled(&self.path);
        client.send(method, &path, &headers, &self.body).await
    }
}

/// Splits a command line into words, with quotes of both kinds.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for char in command.chars() {
        match (char, quote) {
            ('\'' | '"', None) => quote = Some(char),
            (char, Some(open)) if char == open => quote = None,
            (' ', None) => words.push(String::new()),
            _ => words.last_mut().unwrap().push(char),
        }
    }
    words
}

#[tokio::test]
async fn the_lines_of_the_readme_work() {
    let service = Running::on_memory("readme").await;
    let client = service.client;
    client.until_ready().await;
    let joined = README.replace("\\\n    ", "");
    let lines: Vec<_> = joined
        .lines()
        .filter(|it| it.starts_with("curl "))
        .collect();
    assert!(lines.len() > 15, "the lines were not found");
    let (mut token, mut booking) = (String::new(), String::new());
    for line in lines {
        let answered = Line::parse(line).send(client, &token, &booking).await;
        assert_eq!(
            answered.status,
            Line::parse(line).status,
            "{line}\n{answered:?}"
        );
        if answered.status == 201 {
            token = answered.token();
            booking = answered.header("location").to_owned();
        }
    }
}
