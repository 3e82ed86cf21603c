//! Limits what a server can send before it has accepted the login.
//!
//! The driver allocates as much memory as a message announces. Until the server has accepted the
//! login, and has thereby shown its identity, each message and all messages together are limited.
//! Afterwards this stream only passes bytes on.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::limits::{GREETING_SIZE_MAX, MESSAGE_BEFORE_LOGIN_SIZE_MAX};

/// The kind of a message and its length, which includes itself.
const HEADER_SIZE: usize = 5;
/// The kind of the message after which the server accepts queries.
const READY_FOR_QUERY: u8 = b'Z';
/// The response of a server that continues with encryption.
const ENCRYPTED: u8 = b'S';

/// The next part of a server's greeting.
#[derive(Clone, Copy, Debug)]
enum GreetingPart {
    /// One byte: whether the server encrypts.
    Encryption,
    Header([u8; HEADER_SIZE], usize),
    /// The rest of a message of this kind.
    Body(u8, usize),
    /// Anything; it is not checked.
    Anything,
}

/// A stream whose greeting is limited.
pub(crate) struct Greeted<S> {
    stream: S,
    expected: GreetingPart,
    size: usize,
}

impl<S> Greeted<S> {
    /// Returns a stream of messages.
    pub(crate) fn plain(stream: S) -> Self {
        Self::new(stream, GreetingPart::Header([0; HEADER_SIZE], 0))
    }

    /// Returns a stream on which the server first sends whether it encrypts.
    pub(crate) fn asked_for_encryption(stream: S) -> Self {
        Self::new(stream, GreetingPart::Encryption)
    }

    /// Returns a stream that is encrypted from its first byte on; the encrypted content is limited
    /// separately.
    pub(crate) fn encrypted(stream: S) -> Self {
        Self::new(stream, GreetingPart::Anything)
    }

    fn new(stream: S, expected: GreetingPart) -> Self {
        Self {
            stream,
            expected,
            size: 0,
        }
    }

    /// Checks received bytes.
    fn look(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if matches!(self.expected, GreetingPart::Anything) {
            return Ok(());
        }
        self.size += bytes.len();
        while let [first, others @ ..] = bytes {
            self.expected = match self.expected {
                GreetingPart::Anything => return Ok(()),
                GreetingPart::Encryption => {
                    bytes = others;
                    match *first {
                        ENCRYPTED => GreetingPart::Anything,
                        _ => GreetingPart::Header([0; HEADER_SIZE], 0),
                    }
                }
                GreetingPart::Header(mut header, filled) => {
                    bytes = others;
                    header[filled] = *first;
                    match filled + 1 {
                        HEADER_SIZE => body(header)?,
                        filled => GreetingPart::Header(header, filled),
                    }
                }
                GreetingPart::Body(kind, left) => {
                    let there = left.min(bytes.len());
                    bytes = &bytes[there..];
                    GreetingPart::Body(kind, left - there)
                }
            };
            if let GreetingPart::Body(kind, 0) = self.expected {
                self.expected = match kind {
                    READY_FOR_QUERY => GreetingPart::Anything,
                    _ => GreetingPart::Header([0; HEADER_SIZE], 0),
                };
            }
        }
        if self.size > GREETING_SIZE_MAX && !matches!(self.expected, GreetingPart::Anything) {
            return Err(too_much(format!(
                "{} bytes, and {GREETING_SIZE_MAX} are taken at most",
                self.size
            )));
        }
        Ok(())
    }
}

/// Returns the body that a header announces.
fn body(header: [u8; HEADER_SIZE]) -> io::Result<GreetingPart> {
    let [kind, length @ ..] = header;
    let length = u32::from_be_bytes(length) as usize;
    if length > MESSAGE_BEFORE_LOGIN_SIZE_MAX {
        return Err(too_much(format!(
            "a message of {length} bytes, and {MESSAGE_BEFORE_LOGIN_SIZE_MAX} are taken at most"
        )));
    }
    // The driver refuses a length that does not include itself.
    Ok(GreetingPart::Body(
        kind,
        length.saturating_sub(HEADER_SIZE - 1),
    ))
}

fn too_much(what: String) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("before it accepted the login, the server sent {what}; is it a PostgreSQL server?"),
    )
}

impl<S: AsyncRead + Unpin> AsyncRead for Greeted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        match read {
            Poll::Ready(Ok(())) => Poll::Ready(self.look(&buffer.filled()[before..])),
            other => other,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Greeted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, size: usize) -> Vec<u8> {
        let length = u32::try_from(size + 4).unwrap().to_be_bytes();
        let mut bytes = vec![kind];
        bytes.extend(length);
        bytes.resize(HEADER_SIZE + size, 0);
        bytes
    }

    /// Checks bytes in pieces of every size.
    #[track_caller]
    fn check(make: fn(()) -> Greeted<()>, bytes: &[u8], is_taken: bool) {
        for size in [1, 2, 3, 5, 7, 4096, bytes.len()] {
            let mut greeted = make(());
            let mut looked = bytes.chunks(size).map(|piece| greeted.look(piece));
            let all = looked.try_for_each(|it| it);
            assert_eq!(all.is_ok(), is_taken, "pieces of {size}: {all:?}");
        }
    }

    #[test]
    fn a_message_is_bounded_until_queries_are_taken() {
        let greeting = [message(b'R', 4), message(b'S', 40), message(b'K', 8)].concat();
        let large = message(b'D', MESSAGE_BEFORE_LOGIN_SIZE_MAX);
        let ready = message(READY_FOR_QUERY, 1);
        check(Greeted::plain, &greeting, true);
        check(Greeted::plain, &large, false);
        check(Greeted::plain, &[&*greeting, &large].concat(), false);
        let all = [&*greeting, &ready, &large].concat();
        check(Greeted::plain, &all, true);
        check(Greeted::plain, &[b'R', 0x7f, 0xff, 0xff, 0xff], false);
        check(Greeted::plain, &[b'R', 0, 0, 0, 0, b'Z'], true);
    }

    #[test]
    fn all_messages_together_are_bounded() {
        let many = message(b'S', 1000).repeat(GREETING_SIZE_MAX / 1000 + 1);
        check(Greeted::plain, &many, false);
        let ready = message(READY_FOR_QUERY, 1);
        check(Greeted::plain, &[&*ready, &many].concat(), true);
    }

    #[test]
    fn a_server_that_does_not_encrypt_is_bounded_as_well() {
        let large = message(b'E', MESSAGE_BEFORE_LOGIN_SIZE_MAX);
        let answered = |byte: u8| [&[byte], &*large].concat();
        check(Greeted::asked_for_encryption, &answered(b'N'), false);
        check(Greeted::asked_for_encryption, &answered(b'S'), true);
    }
}
