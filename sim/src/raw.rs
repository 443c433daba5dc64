//! What the client of a raw socket must have heard: bare payloads, of which nothing is missing from first to last.
//!
//! Such a socket has no positions and no gaps. So all is judged at the end, from what others were told of where those
//! messages stand. Deliberately absent: sockets that consented to unannounced gaps may miss what they like.

use std::collections::BTreeSet;

use crate::model::{Author, Begin, Truth};

/// One raw socket, as its client knows it.
#[derive(Debug)]
pub struct RawView {
    /// The client.
    pub client: u32,
    /// The channel.
    pub channel: usize,
    /// Whether it hears itself.
    pub own: bool,
    /// Whether it hears at all.
    pub hears: bool,
    /// Whether it consented to unannounced gaps.
    pub consents: bool,
    /// Where it began.
    pub begin: Begin,
    /// When it was open, on the clock of the world's happenings.
    pub opened: Option<u64>,
    /// What it heard.
    pub heard: Vec<Author>,
}

impl RawView {
    /// Judges what was heard. `is_open`: it still listens, and the world is at rest.
    pub fn judge(&self, truth: &Truth, is_open: bool) -> Result<(), String> {
        let Some(opened) = self.opened.filter(|_| self.hears) else { return Ok(()) };
        let known: Vec<(usize, u64)> =
            self.heard.iter().filter_map(|author| truth.places.get(author).copied()).collect();
        for pair in known.windows(2) {
            if pair[0].0 != pair[1].0 || pair[0].1 >= pair[1].1 {
                let places = (truth.name(pair[0].0, pair[0].1), truth.name(pair[1].0, pair[1].1));
                return Err(format!("raw client {} heard {} before {}", self.client, places.0, places.1));
            }
        }
        let heard: BTreeSet<Author> = self.heard.iter().copied().collect();
        if heard.len() < self.heard.len() {
            return Err(format!("raw client {} heard something twice", self.client));
        }
        let wanted = |author: &Author| (self.own || author.0 != self.client) && !heard.contains(author);
        if self.consents {
            return Ok(());
        }
        let missed = match (known.first(), known.last()) {
            (Some((line, first)), Some((_, last))) => {
                let from = match &self.begin {
                    Begin::Since(since) => since.split_once(':').and_then(|since| since.1.parse().ok()),
                    Begin::Live | Begin::Last(_) => None,
                };
                let from = from.map_or(*first, |since: u64| since + 1);
                let to = if is_open { u64::MAX } else { *last };
                let mut range = truth.lines[*line].places.range(from..=to.max(from));
                range.find(|(_, author)| wanted(author)).map(|(sequence, _)| truth.name(*line, *sequence))
            }
            _ if is_open => {
                let mut lines =
                    truth.lines.iter().enumerate().filter(|(_, line)| line.channel == self.channel);
                lines.find_map(|(number, line)| {
                    let mut places = line.places.iter();
                    let late = places.find(|(_, author)| wanted(author) && truth.sent[author].stamp > opened);
                    late.map(|(sequence, _)| truth.name(number, *sequence))
                })
            }
            _ => None,
        };
        match missed {
            Some(place) => Err(format!("raw client {} never heard {place}, and was not closed", self.client)),
            None => Ok(()),
        }
    }
}
