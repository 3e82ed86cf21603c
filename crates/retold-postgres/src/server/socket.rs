//! The socket of a connection, opened in the same way as the driver does.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, LoadBalanceHosts};

use super::place::PORT_DEFAULT;

/// An open socket.
pub(crate) enum Socket {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
}

/// An address that a socket can be opened to, and the name that its certificate must have.
pub(crate) struct Address {
    pub(crate) host: Host,
    pub(crate) name: String,
    port: u16,
}

/// Returns the addresses that a configuration names, in the order of attempts.
pub(crate) fn addresses(config: &Config) -> Vec<Address> {
    let (hosts, numbers) = (config.get_hosts(), config.get_hostaddrs());
    let addresses = (0..hosts.len().max(numbers.len())).filter_map(|index| {
        let (host, number) = (hosts.get(index), numbers.get(index));
        let number = number.map(ToString::to_string);
        let name = match host {
            Some(Host::Tcp(name)) => name.clone(),
            #[cfg(unix)]
            Some(Host::Unix(_)) => String::new(),
            None => number.clone()?,
        };
        let ports = config.get_ports();
        let port = ports.get(index).or(ports.first());
        Some(Address {
            host: number.map(Host::Tcp).or_else(|| host.cloned())?,
            name,
            port: port.copied().unwrap_or(PORT_DEFAULT),
        })
    });
    turned(addresses.collect(), config)
}

impl Address {
    /// Opens a socket to this address.
    pub(crate) async fn open(&self, config: &Config) -> io::Result<Socket> {
        match &self.host {
            Host::Tcp(host) => {
                let found = lookup_host((host.as_str(), self.port)).await?;
                let mut failure = None;
                for address in turned(found.collect(), config) {
                    match TcpStream::connect(address).await {
                        Ok(stream) => return prepared(stream, config).map(Socket::Tcp),
                        Err(error) => failure = Some(error),
                    }
                }
                Err(failure.unwrap_or_else(|| {
                    io::Error::new(io::ErrorKind::NotFound, "the name has no address")
                }))
            }
            #[cfg(unix)]
            Host::Unix(folder) => {
                let path = folder.join(format!(".s.PGSQL.{}", self.port));
                let stream = tokio::net::UnixStream::connect(path).await?;
                Ok(Socket::Unix(stream))
            }
        }
    }
}

/// Rotates a list at random if the configuration balances load.
fn turned<T>(mut list: Vec<T>, config: &Config) -> Vec<T> {
    if config.get_load_balance_hosts() == LoadBalanceHosts::Random && !list.is_empty() {
        let chance = RandomState::new().build_hasher().finish();
        let length = list.len() as u64;
        list.rotate_left(usize::try_from(chance % length).unwrap_or_default());
    }
    list
}

fn prepared(stream: TcpStream, config: &Config) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    #[cfg(target_os = "linux")]
    if let Some(wait_max) = config.get_tcp_user_timeout() {
        socket.set_tcp_user_timeout(Some(*wait_max))?;
    }
    if config.get_keepalives() {
        let mut keepalive = TcpKeepalive::new().with_time(config.get_keepalives_idle());
        if let Some(interval) = config.get_keepalives_interval() {
            keepalive = keepalive.with_interval(interval);
        }
        #[cfg(unix)]
        if let Some(retries) = config.get_keepalives_retries() {
            keepalive = keepalive.with_retries(retries);
        }
        socket.set_tcp_keepalive(&keepalive)?;
    }
    Ok(stream)
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
