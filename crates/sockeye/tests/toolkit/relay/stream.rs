//! Streams to streams: bytes, ends, resets, limits.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use super::{client, next, pattern, read, read_all, relaying, server, write_all};
use crate::world::{PATIENCE, Running, closed_port, run};

#[test]
fn bytes_pass_both_ways_at_once_and_come_whole() {
    let (server, to) = server();
    let (_relay, address) = relaying(&["listen:tcp:127.0.0.1:0", &to]);

    for count in [0, 1, 65_535, 65_536, 65_537, 5 << 20] {
        let (near, far) = (client(&address), next(&server));
        let (there, back) = (pattern(count, 1), pattern(count, 2));
        let writers = [write_all(&near, there.clone()), write_all(&far, back.clone())];
        let (heard_there, heard_back) = (read_all(&far), read_all(&near));

        assert!(heard_there.join().unwrap() == there, "{count} there");
        assert!(heard_back.join().unwrap() == back, "{count} back");
        writers.into_iter().for_each(|writer| writer.join().unwrap());
    }
}

#[test]
fn the_end_of_one_direction_is_passed_on_and_the_other_goes_on() {
    let (server, to) = server();
    let (_relay, address) = relaying(&["listen:tcp:127.0.0.1:0", &to]);
    let (mut near, mut far) = (client(&address), next(&server));

    near.write_all(b"question").unwrap();
    near.shutdown(Shutdown::Write).unwrap();
    let question = read_all(&far).join().unwrap();
    // The end has come through, and only then it is answered.
    far.write_all(b"answer").unwrap();
    drop(far);

    assert_eq!(question, b"question");
    let mut answer = Vec::new();
    near.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"answer");
}

#[test]
fn unix_and_tcp_are_joined_and_a_stalled_reader_stops_the_writer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("far.sock");
    let server = UnixListener::bind(&path).unwrap();
    let (relay, address) = relaying(&["listen:tcp:127.0.0.1:0", &format!("unix:{}", path.display())]);
    let (near, (mut far, _)) = (client(&address), server.accept().unwrap());

    // Nobody reads: what is taken is bounded by the kernel's buffers and one pipe.
    near.set_nonblocking(true).unwrap();
    let (mut sent, mut patience) = (0, 200);
    let block = pattern(1 << 16, 3);
    while patience > 0 {
        match (&near).write(&block[sent % block.len()..]) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                patience -= 1;
                relay.goes_on_for(Duration::from_millis(5));
            }
            Err(error) => panic!("{error}"),
        }
        assert!(sent < 64 << 20, "nothing stops the writer");
    }
    near.shutdown(Shutdown::Write).unwrap();
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut heard = Vec::new();
    far.read_to_end(&mut heard).unwrap();

    assert_eq!(heard.len(), sent);
    assert!(heard.chunks(block.len()).all(|piece| *piece == block[..piece.len()]));
}

#[test]
fn a_connection_that_is_reset_is_not_ended_in_good_order_on_the_other_side() {
    let (server, to) = server();
    let (relay, address) = relaying(&["listen:tcp:127.0.0.1:0", &to]);
    let (mut near, mut far) = (client(&address), next(&server));
    near.write_all(b"half").unwrap();
    assert_eq!(read(&far, 4), b"half");

    socket2::SockRef::from(&near).set_linger(Some(Duration::ZERO)).unwrap();
    drop(near);

    assert_eq!(far.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    relay.wait_for_errors(|said| said.contains("connection 1 ended: tcp:127.0.0.1:0: the connection broke"));
    let (mut near, far) = (client(&address), next(&server));
    near.write_all(b"next").unwrap();
    assert_eq!(read(&far, 4), b"next");
}

#[test]
fn a_side_that_refuses_is_told_of_and_ends_only_its_connection() {
    let port = closed_port();
    let (relay, address) = relaying(&["listen:tcp:127.0.0.1:0", &format!("tcp:127.0.0.1:{port}")]);

    for _ in 0..2 {
        let mut near = client(&address);
        let ended = near.read(&mut [0; 1]);
        assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    }

    let said = relay.wait_for_errors(|said| said.matches("is not relayed").count() == 2);
    let line = said.lines().nth(1).unwrap();
    assert!(line.contains(&format!("tcp:127.0.0.1:{port}: cannot connect: Connection refused")), "{line}");
}

#[test]
fn connecting_is_tried_again_until_the_other_side_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("late.sock");
    let to = format!("unix:{}", path.display());
    let (relay, address) = relaying(&["--retry", "20s", "listen:tcp:127.0.0.1:0", &to]);
    let mut near = client(&address);
    near.write_all(b"patience").unwrap();
    relay.wait_for_errors(|said| said.contains("trying again in "));

    let server = UnixListener::bind(&path).unwrap();

    let (mut far, _) = server.accept().unwrap();
    let mut heard = [0; 8];
    far.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"patience");
}

#[test]
fn limits_of_silence_and_of_one_direction_end_a_pair_with_their_codes() {
    let (server, to) = server();
    for (flag, code, said) in
        [("--idle", 5, "nothing has moved for 200 ms"), ("--linger", 8, "one direction still went on 200 ms")]
    {
        let (relay, address) = relaying(&["--once", flag, "200ms", "listen:tcp:127.0.0.1:0", &to]);
        let (near, _far) = (client(&address), next(&server));
        if flag == "--linger" {
            near.shutdown(Shutdown::Write).unwrap();
        }

        let ran = relay.ended();

        assert_eq!(ran.code, code, "{ran:?}");
        assert!(ran.errors.contains(said), "{ran:?}");
    }
}

#[test]
fn one_way_passes_nothing_back() {
    let (server, to) = server();
    let (relay, address) = relaying(&["--once", "--one-way", "--stats", "listen:tcp:127.0.0.1:0", &to]);
    let (mut near, mut far) = (client(&address), next(&server));

    far.write_all(&pattern(1 << 20, 4)).unwrap();
    near.write_all(b"there").unwrap();
    near.shutdown(Shutdown::Write).unwrap();

    assert_eq!(read_all(&far).join().unwrap(), b"there");
    let mut back = Vec::new();
    near.read_to_end(&mut back).unwrap();
    assert!(back.is_empty());
    let ran = relay.ended();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.errors.contains("there 5 bytes in 1 pieces, back 0 bytes in 0 pieces"), "{ran:?}");
}

#[test]
fn above_its_bound_connections_wait_for_a_place() {
    let (server, to) = server();
    let (_relay, address) = relaying(&["--max", "1", "listen:tcp:127.0.0.1:0", &to]);
    let (first, far) = (client(&address), next(&server));
    let mut second = client(&address);
    second.write_all(b"second").unwrap();
    server.set_nonblocking(true).unwrap();
    assert_eq!(server.accept().unwrap_err().kind(), ErrorKind::WouldBlock);

    drop((first, far));

    server.set_nonblocking(false).unwrap();
    assert_eq!(read(&next(&server), 6), b"second");
}

#[test]
fn five_hundred_connections_keep_apart() {
    let (server, to) = server();
    let (_relay, address) = relaying(&["listen:tcp:127.0.0.1:0", &to]);

    let mut pairs: Vec<_> = (0..500)
        .map(|number: u32| {
            let mut near = client(&address);
            near.write_all(&number.to_be_bytes()).unwrap();
            (near, next(&server))
        })
        .collect();
    // Accepted in some order: each says whose it is.
    for (_, far) in &mut pairs {
        let number = read(far, 4);
        far.write_all(&number).unwrap();
    }

    for (number, (near, _)) in pairs.iter().enumerate() {
        assert_eq!(read(near, 4), u32::try_from(number).unwrap().to_be_bytes());
    }
}

#[test]
fn standard_streams_and_commands_are_sides_like_any_other() {
    let ran = run(&["relay", "-", "exec:tr a-z A-Z"], b"hello");
    assert_eq!((ran.code, ran.text()), (0, "HELLO"), "{ran:?}");

    let failed = run(&["relay", "-", "sh:cat; exit 3"], b"hello");
    assert_eq!((failed.code, failed.text()), (8, "hello"), "{failed:?}");

    let refused = run(&["relay", "-", &format!("tcp:127.0.0.1:{}", closed_port())], b"hello");
    assert_eq!(refused.code, 4, "{refused:?}");
    assert_eq!(refused.errors.matches("cannot connect").count(), 1, "it is told once: {refused:?}");
}

#[test]
fn what_passes_is_copied_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let (there, back) = (folder.path().join("there"), folder.path().join("back"));
    let tee = |path: &std::path::Path| format!("file:{}?write=true", path.display());
    let ran = run(
        &["relay", "--hex", "--tee", &tee(&there), "--tee-back", &tee(&back), "-", "exec:tr a-z A-Z"],
        b"hello",
    );

    assert_eq!((ran.code, ran.text()), (0, "HELLO"), "{ran:?}");
    assert_eq!(std::fs::read(there).unwrap(), b"hello");
    assert_eq!(std::fs::read(back).unwrap(), b"HELLO");
    assert!(ran.errors.contains("#1 > ") && ran.errors.contains("68 65 6c 6c 6f"), "{ran:?}");
    assert!(ran.errors.contains("#1 < ") && ran.errors.contains("48 45 4c 4c 4f"), "{ran:?}");
}

#[test]
fn two_listening_sides_are_joined_as_they_come() {
    let relay = Running::start(&["relay", "listen:tcp:127.0.0.1:0", "listen:tcp:127.0.0.1:0"]);
    let said = relay.wait_for_errors(|said| said.matches('\n').count() == 2);
    let addresses: Vec<&str> = said.lines().map(|line| line.split("listening on ").nth(1).unwrap()).collect();
    let (mut left, mut right) = (client(addresses[0]), client(addresses[1]));

    left.write_all(b"to the right").unwrap();
    right.write_all(b"to the left").unwrap();

    assert_eq!(read(&right, 12), b"to the right");
    assert_eq!(read(&left, 11), b"to the left");
}
