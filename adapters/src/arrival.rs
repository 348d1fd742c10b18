//! Bytes of a socket, and when they arrived: by the kernel's stamp, not by when somebody came to read them.
//!
//! With hundreds of streams on few CPUs a read comes late by milliseconds, and by more where others run; the kernel stamps
//! what it receives at once (`SO_TIMESTAMPNS`, socket(7)), and hands the stamp of the last byte over with the bytes. Where it
//! does not, the moment of the read is the stamp. Invariant: a stamp is never later than the read.

use std::cell::RefCell;
use std::io::{self, ErrorKind, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use bench_core::clock;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Most bytes of one read: some fifty chunks of one token, where a server is ahead of us.
pub(crate) const READ_BYTES: usize = 16 << 10;

thread_local! {
    /// What is read is taken out before anybody else reads, so that a thread needs one of these.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// Has the kernel stamp what this socket receives. Where it cannot, the stamp is that of the read.
pub(crate) fn stamp_arrivals(socket: &impl AsFd) {
    let _not_here = setsockopt(socket, sockopt::ReceiveTimestampns, &true).is_err();
}

/// Reads once, without waiting: how many bytes, 0 at the end, and when the last of them arrived.
pub(crate) fn receive(socket: &impl AsRawFd, buffer: &mut [u8]) -> io::Result<(usize, Instant)> {
    let mut control = [0; nix::sys::socket::cmsg_space::<TimeSpec>()];
    let mut pieces = [IoSliceMut::new(buffer)];
    let (count, stamp) = loop {
        match recvmsg::<()>(socket.as_raw_fd(), &mut pieces, Some(&mut control), MsgFlags::MSG_DONTWAIT) {
            Ok(message) => break (message.bytes, message.cmsgs().ok().and_then(stamp_of)),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    };
    Ok((count, stamp.and_then(clock::moment_of).unwrap_or_else(Instant::now)))
}

fn stamp_of(messages: impl Iterator<Item = ControlMessageOwned>) -> Option<Duration> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "all that a kernel may ever say")]
    let stamp = messages.into_iter().find_map(|message| match message {
        ControlMessageOwned::ScmTimestampns(stamp) => Some(stamp),
        _ => None,
    })?;
    Some(Duration::new(u64::try_from(stamp.tv_sec()).ok()?, u32::try_from(stamp.tv_nsec()).ok()?))
}

/// Waits for bytes, hands them to `take`, and tells when the last of them arrived. Empty at the end of the stream.
pub(crate) async fn next<T>(
    socket: &TcpStream,
    mut take: impl FnMut(&[u8]) -> T,
) -> io::Result<(T, Instant)> {
    loop {
        // A server that is always ahead must not keep other streams from being read.
        tokio::task::coop::consume_budget().await;
        socket.readable().await?;
        let mut taken = None;
        let tried = socket.try_io(Interest::READABLE, || {
            BUFFER.with_borrow_mut(|buffer| {
                let (count, at) = receive(socket, buffer)?;
                taken = Some((take(&buffer[..count]), at));
                // A read that did not fill the buffer emptied the socket: to be told so spares one that finds nothing.
                if count < buffer.len() { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
            })
        });
        match (taken, tried) {
            (Some(taken), _) => return Ok(taken),
            (None, Err(error)) if error.kind() != ErrorKind::WouldBlock => return Err(error),
            (None, _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    fn pair() -> (std::net::TcpStream, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (ours, listener.accept().unwrap().0)
    }

    #[test]
    fn bytes_that_are_read_late_have_the_moment_they_came() {
        let (ours, mut theirs) = pair();
        stamp_arrivals(&ours);
        // The kernel begins to stamp a little after the first socket of all asks for it.
        for _ in 0..50 {
            let sent = Instant::now();
            theirs.write_all(b"chunk").unwrap();
            let written = Instant::now();
            std::thread::sleep(Duration::from_millis(20));
            let mut buffer = [0; 64];
            let (count, at) = receive(&ours, &mut buffer).unwrap();
            assert_eq!(&buffer[..count], b"chunk");
            let slack = Duration::from_micros(100);
            if at + slack >= sent && at <= written + slack {
                return;
            }
        }
        panic!("fifty times the stamp was not that of the arrival");
    }

    #[test]
    fn nothing_to_read_and_the_end_are_told_apart() {
        let (ours, theirs) = pair();
        assert_eq!(receive(&ours, &mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(theirs);
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(receive(&ours, &mut [0; 8]).unwrap().0, 0);
    }

    #[tokio::test]
    async fn more_than_one_read_is_taken_whole_and_in_order() {
        let (ours, mut theirs) = pair();
        ours.set_nonblocking(true).unwrap();
        let ours = TcpStream::from_std(ours).unwrap();
        let sent: Vec<u8> = (0..=250).cycle().take(3 * READ_BYTES).collect();
        let bytes = sent.clone();
        let writer = std::thread::spawn(move || theirs.write_all(&bytes));
        let mut got = Vec::new();
        while next(&ours, |bytes| got.extend_from_slice(bytes)).await.is_ok() && got.len() < sent.len() {}
        writer.join().unwrap().unwrap();
        assert_eq!(got, sent);
        let (end, _) = next(&ours, |bytes| bytes.len()).await.unwrap();
        assert_eq!(end, 0);
    }
}
