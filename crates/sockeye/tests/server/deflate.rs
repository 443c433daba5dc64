//! Compression of WebSocket messages (RFC 7692), as a client sees it: what is agreed on, what is compressed, and that
//! nothing is lost or garbled by it.

use std::io::Write as _;

use serde_json::json;
use sockeye_wire::websocket::{
    Compressor, DeflateOffer, Opcode, compress_alone, write_masked_compressed_frame, write_masked_frame,
};

use crate::client::{Frame, WebSocket};
use crate::world::Server;

/// What every browser offers.
const BROWSER: &str = "permessage-deflate; client_max_window_bits";

#[test]
fn each_mode_answers_offers_in_its_own_way() {
    let both = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    for (mode, offer, answer) in [
        ("shared", BROWSER, Some(both)),
        (
            "shared",
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
            Some(
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12",
            ),
        ),
        (
            "shared",
            "permessage-deflate; server_max_window_bits=8",
            Some(
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=8",
            ),
        ),
        ("shared", "x-webkit-deflate-frame, permessage-deflate; unknown, permessage-deflate", Some(both)),
        ("shared", "permessage-deflate; server_max_window_bits=7", None),
        ("shared", "permessage-bzip2", None),
        ("dedicated", BROWSER, Some("permessage-deflate")),
        (
            "dedicated",
            "permessage-deflate; server_max_window_bits=10; client_no_context_takeover",
            Some("permessage-deflate; client_no_context_takeover; server_max_window_bits=10"),
        ),
        (
            "dedicated",
            "permessage-deflate; server_no_context_takeover",
            Some("permessage-deflate; server_no_context_takeover"),
        ),
        ("off", BROWSER, None),
    ] {
        let server = Server::with_flags(&["--deflate", mode]);
        for path in ["/ws", "/echo", "/ch/c"] {
            let head = handshake(&server, path, offer);
            assert_eq!(
                (head.status, head.header("sec-websocket-extensions")),
                (101, answer),
                "{mode} {path} {offer}"
            );
        }
    }
    let server = Server::start();
    assert_eq!(handshake(&server, "/ws", "permessage-deflate; =").status, 400);
}

#[test]
fn an_echo_comes_back_compressed_whatever_was_agreed_on() {
    let text = "the quick brown fox jumps over the lazy dog, and over it again; ".repeat(40);
    for mode in ["shared", "dedicated"] {
        let server = Server::with_flags(&["--deflate", mode]);
        for offer in [
            DeflateOffer::default(),
            DeflateOffer { client_max_window_bits: Some(None), ..DeflateOffer::default() },
            DeflateOffer { server_no_context_takeover: true, ..DeflateOffer::default() },
            DeflateOffer { server_max_window_bits: Some(9), ..DeflateOffer::default() },
            DeflateOffer { server_max_window_bits: Some(12), ..DeflateOffer::default() },
        ] {
            let mut socket = WebSocket::open_deflated(&server, "/echo", &offer);
            let agreed = socket.agreed().unwrap();
            let mut compressor = Compressor::new(15, !agreed.client_no_context_takeover);
            for _ in 0..3 {
                let before = socket.received_bytes();
                socket.stream().write_all(&compressed(&mut compressor, &text)).unwrap();
                assert_eq!(socket.text(), text);
                let is_too_long = agreed.server_no_context_takeover && agreed.server_max_window_bits == 9;
                let on_the_wire = socket.received_bytes() - before;
                assert_eq!(on_the_wire < text.len() / 4, !is_too_long, "{mode} {offer:?}: {on_the_wire}");
            }
            // Too small to become smaller.
            let before = socket.received_bytes();
            socket.send("short");
            assert_eq!(socket.text(), "short");
            assert_eq!(socket.received_bytes() - before, 7);
            socket.send_frame(Opcode::Binary, &[]);
            assert_eq!(socket.receive(), Frame::Binary(Vec::new()));
        }
    }
}

#[test]
fn with_a_compression_of_its_own_a_connection_is_sent_what_is_new() {
    let server = Server::with_flags(&["--deflate", "dedicated"]);
    let text: String = (0..60).map(|n| format!("{}-", n * 7_919 % 1_000)).collect();
    let mut socket = WebSocket::open_deflated(&server, "/echo", &DeflateOffer::default());
    let mut sizes = Vec::new();

    for _ in 0..3 {
        let before = socket.received_bytes();
        socket.send(&text.repeat(2));
        assert_eq!(socket.text(), text.repeat(2));
        sizes.push(socket.received_bytes() - before);
    }

    assert!(sizes[1] < sizes[0] / 4 && sizes[2] < sizes[0] / 4, "{sizes:?}");
}

#[test]
fn readers_of_one_channel_hear_the_same_compressed_or_not() {
    let book = [[101.25, 400.0], [101.24, 900.0]].repeat(12);
    let price = json!({"symbol": "SCKY", "bid": 101.25, "ask": 101.27, "book": book}).to_string();
    for mode in ["shared", "dedicated", "off"] {
        let server = Server::with_flags(&["--deflate", mode]);
        let offers = [
            None,
            Some(DeflateOffer::default()),
            Some(DeflateOffer { server_max_window_bits: Some(10), ..DeflateOffer::default() }),
            Some(DeflateOffer { server_no_context_takeover: true, ..DeflateOffer::default() }),
        ];
        let open = |path| {
            offers.each_ref().map(|offer| match offer {
                Some(offer) => WebSocket::open_deflated(&server, path, offer),
                None => WebSocket::open(&server, path),
            })
        };
        let (mut raws, mut sockets) = (open("/ch/prices"), open("/ws"));
        for socket in &mut sockets {
            assert_eq!(socket.ask(r#"{"sub":"prices","id":1}"#)["ok"], 1);
        }
        let before = raws.each_ref().map(WebSocket::received_bytes);

        for n in 0..4 {
            let message = price.replacen("101", &n.to_string(), 1);
            assert_eq!(server.ask("POST", "/ch/prices", &[], message.as_bytes()).status, 200);
            for raw in &mut raws {
                assert_eq!(raw.text(), message);
            }
            for socket in &mut sockets {
                let push = socket.object();
                assert_eq!(push["data"]["book"].as_array().unwrap().len(), 24, "{push}");
            }
        }

        let sizes: Vec<usize> =
            raws.iter().zip(before).map(|(raw, before)| raw.received_bytes() - before).collect();
        assert!(sizes[0] > 4 * price.len());
        assert_eq!(sizes[1] < sizes[0] / 2, mode != "off", "{mode} {sizes:?}");
        assert_eq!(sizes[3] < sizes[0] / 2, mode != "off", "{mode} {sizes:?}");
        // A shared form has one window, which this client cannot take.
        assert_eq!(sizes[2] < sizes[0] / 2, mode == "dedicated", "{mode} {sizes:?}");
        for (index, socket) in sockets.iter_mut().enumerate() {
            let before = socket.received_bytes();
            let past = socket.ask(r#"{"past":"prices","id":2}"#);
            assert_eq!(past["messages"].as_array().unwrap().len(), 4);
            let is_compressed =
                index != 0 && index != 2 && mode != "off" || index == 2 && mode == "dedicated";
            assert_eq!(socket.received_bytes() - before < 2 * price.len(), is_compressed, "{mode} {index}");
        }
    }
}

#[test]
fn a_reader_who_pauses_understands_all_of_what_waited() {
    // Little waits in the kernel, so that writes are cut in the middle of compressed messages. Who cannot be kept up with is
    // served from history, where everything is.
    let config = "limits.unsent_bytes_max = \"4KiB\"\nlimits.outbox_bytes_max = \"64MiB\"\nlimits.outbox_messages_max = 100000\n\
                  history.messages = 100000\nhistory.bytes = \"64MiB\"\n";
    for mode in ["shared", "dedicated"] {
        let server = Server::with(&format!("deflate = \"{mode}\"\n{config}"));
        let mut raw = WebSocket::open_deflated(&server, "/ch/c", &DeflateOffer::default());
        let mut objects = WebSocket::open_deflated(&server, "/ws", &DeflateOffer::default());
        objects.ask(r#"{"sub":"c","id":1}"#);
        let mut speaker = WebSocket::open(&server, "/ch/c?sub=0");
        // Half of it compresses well, half hardly, so that plain and compressed messages take turns.
        let message = |n: usize| match n % 3 {
            0 => format!("{n} {}", "steady ".repeat(400)),
            1 => format!(
                "{n} {}",
                (0..2_000)
                    .map(|i| char::from(b'!' + (i * i * 31 + n * 7 + i / 3) as u8 % 90))
                    .collect::<String>()
            ),
            _ => format!("{n} short"),
        };

        for n in 0..3_000 {
            speaker.send(&message(n));
            if n % 500 == 0 {
                objects.send(r#"{"ping":1}"#);
            }
        }
        // The last one is there: nothing more is to come.
        let mut last = server.lines();
        while last.ask(r#"{"past":"c","last":1,"id":1}"#)["at"]
            .as_str()
            .is_none_or(|at| !at.ends_with(":3000"))
        {}

        let mut heard = 0;
        let mut pongs = 0;
        while heard < 3_000 {
            let object = objects.object();
            match object["data"].as_str() {
                Some(data) => {
                    assert_eq!(data, message(heard), "{mode} {heard}");
                    heard += 1;
                }
                None => {
                    assert_eq!(object["pong"], 1, "{mode} {heard} {object}");
                    pongs += 1;
                }
            }
        }
        assert_eq!(pongs, 6);
        for n in 0..3_000 {
            assert_eq!(raw.text(), message(n), "{mode} {n}");
        }
    }
}

#[test]
fn a_bomb_is_refused_and_leaves_nothing_behind() {
    let zeros = vec![b'0'; 64 << 20];
    let mut compressor = Compressor::new(15, true);
    let bomb = compressed(&mut compressor, std::str::from_utf8(&zeros).unwrap());
    assert!(bomb.len() < 100_000);
    for mode in ["shared", "dedicated"] {
        let server = Server::with_flags(&["--deflate", mode]);
        let before = server.resident_bytes();

        for path in ["/echo", "/ch/c", "/ws"] {
            for _ in 0..4 {
                let mut socket = WebSocket::open_deflated(&server, path, &DeflateOffer::default());
                let _ = socket.stream().write_all(&bomb);
                if path == "/ws" {
                    assert_eq!(socket.object()["code"], "too_large");
                }
                socket.closed_with(1009);
            }
        }

        let grown = server.resident_bytes().saturating_sub(before);
        // What /ws may hold of one request is seven times a message, at most twice while it grows.
        assert!(grown < 20 << 20, "{mode}: {grown}");
    }
}

#[test]
fn what_breaks_the_rules_of_compression_is_closed_with_the_code_for_it() {
    let server = Server::start();
    let mut whole = Vec::new();
    assert!(compress_alone("compressed ".repeat(9).as_bytes(), &mut whole));
    let marked = |opcode, payload: &[u8], first: u8| {
        let mut out = Vec::new();
        write_masked_frame(&mut out, opcode, payload, [1, 2, 3, 4]);
        out[0] = first;
        out
    };
    for (bytes, code) in [
        (marked(Opcode::Ping, b"", 0xc9), 1002),
        (marked(Opcode::Text, &whole, 0xe1), 1002),
        (
            [marked(Opcode::Text, &whole[..5], 0x41), marked(Opcode::Continuation, &whole[5..], 0xc0)]
                .concat(),
            1002,
        ),
        (marked(Opcode::Text, &whole[..whole.len() - 3], 0xc1), 1007),
        (marked(Opcode::Binary, b"\x07 is no block", 0xc2), 1007),
    ] {
        for path in ["/echo", "/ws", "/ch/c"] {
            let mut socket = WebSocket::open_deflated(&server, path, &DeflateOffer::default());
            socket.stream().write_all(&bytes).unwrap();
            socket.closed_with(code);
        }
    }
    // In fragments, byte by byte, with a ping between them, it is understood.
    let mut socket = WebSocket::open_deflated(&server, "/echo", &DeflateOffer::default());
    let pieces = [
        marked(Opcode::Text, &whole[..3], 0x41),
        marked(Opcode::Ping, b"between", 0x89),
        marked(Opcode::Continuation, b"", 0x00),
        marked(Opcode::Continuation, &whole[3..], 0x80),
    ];
    for byte in pieces.concat() {
        socket.stream().write_all(&[byte]).unwrap();
    }
    assert_eq!(socket.receive(), Frame::Pong(b"between".to_vec()));
    assert_eq!(socket.text(), "compressed ".repeat(9));
}

fn compressed(compressor: &mut Compressor, text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    assert!(write_masked_compressed_frame(&mut out, Opcode::Text, text.len(), [9, 8, 7, 6], |out| {
        compressor.compress(text.as_bytes(), out)
    }));
    out
}

fn handshake(server: &Server, path: &str, offer: &str) -> crate::http_client::Response {
    let headers = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Extensions", offer),
    ];
    let mut http = server.http();
    http.send(&crate::http_client::request("GET", path, &headers, b""));
    crate::http_client::Response::read_head(&mut http.0)
}
