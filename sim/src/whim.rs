//! What clients want: the requests that the dice make them send.
//!
//! Deliberately absent: malformed requests, which the fuzzers send. Here everything is meant well, so that every error
//! has to have a reason.

use sockeye_wire::websocket::Opcode;

use crate::client::{Asked, Client};
use crate::dice::Dice;
use crate::ear::Dialect;
use crate::guest;
use crate::model::{Begin, CHANNELS, PATTERNS, Sent, Truth};
use crate::plan::Plan;
use crate::raw::RawView;

impl Client {
    /// Says the first words of a connection.
    pub fn open(&mut self, dice: &mut Dice, truth: &mut Truth) {
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        let offer = dice.pick(&[
            "",
            "Sec-WebSocket-Extensions: permessage-deflate\r\n",
            "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9\r\n",
        ]);
        let shown = self.shown();
        let upgrade = format!(
            "Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{offer}{shown}\r\n"
        );
        let channel = dice.roll(CHANNELS.len());
        let own = dice.chance(75);
        let begin = draw_begin(dice, truth, channel);
        let mut query = format!("?self={}", u8::from(own));
        match &begin {
            Begin::Live => {}
            Begin::Since(since) => query += &format!("&since={since}"),
            Begin::Last(count) => query += &format!("&last={count}"),
        }
        match self.dialect {
            Dialect::Lines if self.guest => {
                let id = self.next_id;
                self.next_id += 1;
                self.say_object(&format!("{{\"hello\":1,\"token\":\"{}\",\"id\":{id}}}", guest::TOKEN));
                self.asked.insert(id, Asked::Nothing);
            }
            Dialect::Lines | Dialect::Http => {}
            Dialect::WebSocket => {
                self.unsent.extend_from_slice(format!("GET /ws HTTP/1.1\r\n{upgrade}").as_bytes());
            }
            Dialect::Raw => {
                let (hears, consents) = (dice.chance(85), dice.chance(15));
                query += if consents { "&slow=latest" } else { "" };
                query += if hears { "" } else { "&sub=0" };
                let head = format!("GET /ch/{}{query} HTTP/1.1\r\n{upgrade}", CHANNELS[channel]);
                self.unsent.extend_from_slice(head.as_bytes());
                let (client, heard) = (self.id, Vec::new());
                self.raw =
                    Some(RawView { client, channel, own, hears, consents, begin, opened: None, heard });
            }
            Dialect::Events => {
                let pattern = dice.chance(30).then(|| dice.roll(PATTERNS.len()));
                let name = pattern.map_or(CHANNELS[channel], |pattern| PATTERNS[pattern]);
                let (query, begin) = match pattern {
                    Some(_) => (format!("?self={}", u8::from(own)), Begin::Live),
                    None => (query, begin),
                };
                let path = name.replace('#', "%23");
                let head = format!(
                    "GET /ch/{path}{query} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{shown}\r\n"
                );
                self.unsent.extend_from_slice(head.as_bytes());
                self.asked.insert(0, Asked::Subscribe(name, own, begin));
            }
        }
    }

    /// The header by which a guest is known.
    fn shown(&self) -> String {
        if self.guest { format!("Authorization: Bearer {}\r\n", guest::TOKEN) } else { String::new() }
    }

    /// Asks for something, perhaps for several things at once.
    pub fn act(&mut self, dice: &mut Dice, truth: &mut Truth, plan: &Plan) {
        if !self.may_ask() || self.unsent.len() > 8_000 {
            return;
        }
        let count = if dice.chance(15) { dice.between(2, 12) } else { 1 };
        for _ in 0..count {
            match self.dialect {
                Dialect::Lines | Dialect::WebSocket => self.ask(dice, truth, plan),
                Dialect::Raw => self.publish_raw(dice, truth, plan),
                Dialect::Http => self.post(dice, truth, plan),
                Dialect::Events => {}
            }
        }
    }

    fn ask(&mut self, dice: &mut Dice, truth: &mut Truth, plan: &Plan) {
        let id = self.next_id;
        self.next_id += 1;
        if dice.chance(plan.publishing) {
            return self.publish(id, dice, truth, plan);
        }
        match dice.roll(100) {
            0..55 => {
                let own = dice.chance(75);
                let slow = dice.pick(&[
                    "",
                    "",
                    "",
                    ",\"slow\":\"latest\"",
                    ",\"slow\":\"close\"",
                    ",\"slow\":\"all\"",
                ]);
                let own_field = if own { "" } else { ",\"self\":false" };
                let (name, begin) = if dice.chance(30) {
                    (dice.pick(&PATTERNS), Begin::Live)
                } else {
                    let channel = dice.roll(CHANNELS.len());
                    (CHANNELS[channel], draw_begin(dice, truth, channel))
                };
                let start = match &begin {
                    Begin::Live => String::new(),
                    Begin::Since(since) => format!(",\"since\":\"{since}\""),
                    Begin::Last(count) => format!(",\"last\":{count}"),
                };
                self.say_object(&format!("{{\"sub\":\"{name}\"{start}{own_field}{slow},\"id\":{id}}}"));
                self.asked.insert(id, Asked::Subscribe(name, own, begin));
            }
            55..75 => {
                let name = self.draw_subscription(dice);
                self.say_object(&format!("{{\"unsub\":\"{name}\",\"id\":{id}}}"));
                self.asked.insert(id, Asked::Unsubscribe(name));
            }
            75..90 => {
                let channel = dice.roll(CHANNELS.len());
                let last = dice.chance(60).then(|| dice.roll(20) as u64);
                let since = match draw_begin(dice, truth, channel) {
                    Begin::Since(since) if dice.chance(60) => Some(since),
                    _ => None,
                };
                let last_field = last.map_or(String::new(), |last| format!(",\"last\":{last}"));
                let since_field =
                    since.as_ref().map_or(String::new(), |since| format!(",\"since\":\"{since}\""));
                let name = CHANNELS[channel];
                self.say_object(&format!("{{\"past\":\"{name}\"{last_field}{since_field},\"id\":{id}}}"));
                self.asked.insert(id, Asked::Past(channel, last, since));
            }
            90..97 => self.say_ping(),
            _ => {
                self.say_object(&format!("{{\"hello\":1,\"id\":{id}}}"));
                self.asked.insert(id, Asked::Nothing);
            }
        }
    }

    /// Mostly something that is subscribed to.
    fn draw_subscription(&self, dice: &mut Dice) -> &'static str {
        let exacts = self.view.exacts.keys().map(|channel| CHANNELS[*channel]);
        let patterns = self.view.patterns.iter().map(|(pattern, ..)| PATTERNS[*pattern]);
        let names: Vec<&'static str> = exacts.chain(patterns).collect();
        match names.is_empty() || dice.chance(10) {
            true if dice.chance(50) => dice.pick(&CHANNELS),
            true => dice.pick(&PATTERNS),
            false => dice.pick(&names),
        }
    }

    /// Makes a message that nobody else ever makes.
    fn make(
        &mut self,
        channel: usize,
        key: Option<String>,
        dice: &mut Dice,
        truth: &mut Truth,
        plan: &Plan,
    ) -> Sent {
        self.published += 1;
        truth.stamp += 1;
        let longest = if dice.chance(80) { plan.payload_bytes_max / 4 } else { plan.payload_bytes_max };
        let padding = "x".repeat(dice.roll(longest.max(1)));
        let text = format!("{}.{}.{padding}", self.id, self.published);
        let is_forbidden = self.guest && !guest::may_publish(CHANNELS[channel]);
        let sent = Sent { channel, stamp: truth.stamp, text, key, is_forbidden };
        truth.sent.insert((self.id, self.published), sent.clone());
        sent
    }

    fn publish(&mut self, id: u64, dice: &mut Dice, truth: &mut Truth, plan: &Plan) {
        let channel = dice.roll(CHANNELS.len());
        let key = dice.chance(10).then(|| format!("key{}", dice.roll(6)));
        let sent = self.make(channel, key, dice, truth, plan);
        let payload = match dice.roll(10) {
            0..6 => format!("\"data\":\"{}\"", sent.text),
            6..8 => format!("\"data\":{{\"p\":\"{}\"}}", sent.text),
            _ => {
                use base64::Engine as _;
                format!("\"b64\":\"{}\"", base64::engine::general_purpose::STANDARD.encode(&sent.text))
            }
        };
        let key_field = sent.key.as_ref().map_or(String::new(), |key| format!(",\"key\":\"{key}\""));
        let id_field = if dice.chance(80) {
            self.asked.insert(id, Asked::Publish((self.id, self.published)));
            format!(",\"id\":{id}")
        } else {
            String::new()
        };
        self.say_object(&format!("{{\"pub\":\"{}\",{payload}{key_field}{id_field}}}", CHANNELS[channel]));
    }

    fn publish_raw(&mut self, dice: &mut Dice, truth: &mut Truth, plan: &Plan) {
        let Some(raw) = &self.raw else { return };
        let sent = self.make(raw.channel, None, dice, truth, plan);
        match dice.roll(4) {
            0 => self.say_frame(Opcode::Binary, sent.text.as_bytes()),
            1 => self.say_frame(Opcode::Text, format!("{{\"p\":\"{}\"}}", sent.text).as_bytes()),
            2 => {
                self.say_frame(Opcode::Ping, b"there?");
                self.say_frame(Opcode::Text, sent.text.as_bytes());
            }
            _ => self.say_frame(Opcode::Text, sent.text.as_bytes()),
        }
    }

    fn post(&mut self, dice: &mut Dice, truth: &mut Truth, plan: &Plan) {
        let channel = dice.roll(CHANNELS.len());
        let (name, shown) = (CHANNELS[channel], self.shown());
        if dice.chance(25) {
            let last = dice.roll(10) as u64;
            let head = format!("GET /ch/{name}?last={last} HTTP/1.1\r\nHost: localhost\r\n{shown}\r\n");
            self.unsent.extend_from_slice(head.as_bytes());
            self.posts.push_back(Asked::Past(channel, Some(last), None));
            return;
        }
        let sent = self.make(channel, None, dice, truth, plan);
        let length = sent.text.len();
        let head =
            format!("POST /ch/{name} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{shown}\r\n");
        self.unsent.extend_from_slice(head.as_bytes());
        self.unsent.extend_from_slice(sent.text.as_bytes());
        self.posts.push_back(Asked::Publish((self.id, self.published)));
    }
}

/// Where a subscription begins: mostly live; behind something that somebody was told of; with the last few.
fn draw_begin(dice: &mut Dice, truth: &Truth, channel: usize) -> Begin {
    match dice.roll(10) {
        0..5 => Begin::Live,
        5..7 => Begin::Last(dice.roll(12) as u64),
        _ => {
            let lines: Vec<usize> =
                (0..truth.lines.len()).filter(|line| truth.lines[*line].channel == channel).collect();
            let Some(line) = lines.last().copied() else { return Begin::Since("zzz:3".into()) };
            let line = &truth.lines[if dice.chance(90) { line } else { dice.pick(&lines) }];
            let back = if dice.chance(70) { dice.roll(8) as u64 } else { dice.roll(60) as u64 };
            let ahead = u64::from(dice.chance(5)) * 1_000;
            Begin::Since(format!("{}:{}", line.epoch, line.head.saturating_sub(back) + ahead))
        }
    }
}
