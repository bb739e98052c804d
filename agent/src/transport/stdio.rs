//! The connection of `vfsync serve`: its own standard input and output.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    os::unix::net::UnixStream as StdUnixStream,
};

use rustix::fs::{FileType, fstat};
use tokio::net::{UnixStream, unix::pipe};

use super::{Connection, Reader, Writer};

/// Takes over standard input and output as a connection.
///
/// sshd hands over pipes or sockets, which are read and written directly; anything else goes through tokio's threads.
/// Where they are taken over, what this process prints by mistake goes to standard error, and the other end sees the
/// end of the stream as soon as the connection is dropped.
pub fn connect(peer: impl Into<String>) -> io::Result<Connection> {
    let input = io::stdin().as_fd().try_clone_to_owned()?;
    let output = io::stdout().as_fd().try_clone_to_owned()?;
    let reader = reader(input)?;
    let writer = writer(output)?;
    Ok(Connection::new(reader, writer, peer))
}

fn reader(fd: OwnedFd) -> io::Result<Reader> {
    let reader: Reader = match kind(&fd)? {
        FileType::Fifo => Box::new(pipe::Receiver::from_owned_fd(fd)?),
        FileType::Socket => Box::new(socket(fd)?),
        _ => return Ok(Box::new(tokio::io::stdin())),
    };
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    Ok(reader)
}

fn writer(fd: OwnedFd) -> io::Result<Writer> {
    let writer: Writer = match kind(&fd)? {
        FileType::Fifo => Box::new(pipe::Sender::from_owned_fd(fd)?),
        // Input and output may be one socket: this half tells the other end when it is dropped.
        FileType::Socket => Box::new(socket(fd)?.into_split().1),
        _ => return Ok(Box::new(tokio::io::stdout())),
    };
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    Ok(writer)
}

fn kind(fd: &OwnedFd) -> io::Result<FileType> {
    Ok(FileType::from_raw_mode(fstat(fd)?.st_mode))
}

fn socket(fd: OwnedFd) -> io::Result<UnixStream> {
    let socket = StdUnixStream::from(fd);
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket)
}
