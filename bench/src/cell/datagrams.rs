//! Datagrams: one sensor that publishes JSON of 128 bytes without asking for answers, as fast as they are taken. The floor
//! receives the same datagrams with the same call into buffers of the same size, and does nothing with them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use sockeye_sys::datagram::{BATCH_MAX, Peer};

use super::Bench;
use crate::measure::{Running, Sample, Work, alternate};
use crate::process::{Process, Program};
use crate::report::{Report, Row, Target};

/// What server and floor ask the kernel to hold unread.
pub(crate) const KERNEL_BUFFER_BYTES: usize = 4 << 20;

const DATAGRAM_BYTES: usize = 128;
/// Datagrams that are sent before it is asked whether they have all come.
const BURST: usize = 4 * BATCH_MAX;
const PATIENCE: Duration = Duration::from_secs(5);
const TARGET: Target = Target::AtMost(1.3);

/// Sockeye against the floor.
pub(crate) fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let programs = bench.programs(Program::DatagramFloor);
    let plan = bench.plan.of_many_starts();
    let rounds = alternate(&plan, programs.len(), |index| Flow::start(bench, &programs[index]))?;
    let name = "datagrams published x 128 B";
    bench.push_ratios(report, name, "CPU", &rounds, TARGET);
    for (index, program) in programs.iter().enumerate() {
        let per_second = 1e6 / rounds.us_per_message(index).median;
        let figure = format!("{}, datagrams a CPU-second", program.name());
        report.push(Row::of_value(name, &figure, per_second, crate::report::Unit::Count, Target::None));
    }
    Ok(())
}

/// One program and the sensor that sends to it.
struct Flow {
    process: Process,
    socket: UdpSocket,
    request: Vec<u8>,
    sent: u64,
    is_floor: bool,
}

impl Flow {
    fn start(bench: &Bench, program: &Program) -> anyhow::Result<Self> {
        let process = bench.start(program)?;
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let is_floor = matches!(program, Program::DatagramFloor);
        let mut flow = Flow { process, socket, request: request(), sent: 0, is_floor };
        flow.run(bench.warm_up())?;
        Ok(flow)
    }

    /// Sends bursts for a while. Returns how many datagrams that were.
    fn run(&mut self, duration: Duration) -> anyhow::Result<u64> {
        let (began, before) = (Instant::now(), self.sent);
        let to = Peer::Ip(self.process.address);
        while began.elapsed() < duration {
            let mut left = BURST;
            while left > 0 {
                let batch = std::iter::repeat_n((to, None, &self.request[..]), left.min(BATCH_MAX));
                match sockeye_sys::datagram::send(&self.socket, batch) {
                    Ok(sent) => left -= sent,
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error.into()),
                }
            }
            self.sent += BURST as u64;
            self.socket.send_to(b"{\"ping\":1}", self.process.address)?;
            let mut answer = [0; 64];
            let length = self.socket.recv(&mut answer).context("the answer to a ping")?;
            let expected = if self.is_floor { self.sent.to_string() } else { "{\"pong\":1}".into() };
            ensure!(answer[..length] == *expected.as_bytes(), "not all datagrams have come");
        }
        Ok(self.sent - before)
    }
}

impl Running for Flow {
    fn slice(&mut self, duration: Duration) -> anyhow::Result<Work> {
        let before = self.process.cpu_ns()?;
        let messages = self.run(duration)?;
        Ok(Work { cpu_ns: self.process.cpu_ns()? - before, messages })
    }

    fn finish(self, work: Work) -> anyhow::Result<Sample> {
        if !self.is_floor {
            let published = published(self.process.address)?;
            ensure!(published == self.sent, "{published} of {} datagrams were published", self.sent);
        }
        Ok(Sample::of(work))
    }
}

/// What a sensor says, padded to its length.
fn request() -> Vec<u8> {
    let text = |pad: usize| {
        let reading = "\"unit\":\"C\",\"value\":21.53,\"site\":\"roof\"";
        format!("{{\"pub\":\"sensors/0001\",\"data\":{{{reading},\"note\":\"{}\"}}}}", "x".repeat(pad))
    };
    text(DATAGRAM_BYTES - text(0).len()).into_bytes()
}

/// How many messages the server has published, by its own account.
fn published(address: SocketAddr) -> anyhow::Result<u64> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    let figure = page.lines().find_map(|line| line.strip_prefix("sockeye_messages_published_total "));
    figure.context("no such figure")?.parse().context("a figure is a number")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_request_is_as_long_as_it_says() {
        assert_eq!(super::request().len(), super::DATAGRAM_BYTES);
    }
}
