//! The same echo on other Rust servers, in turns with ours.

use super::{Bench, echo};
use crate::measure::alternate;
use crate::peer::Peer;
use crate::process::{Build, Program};
use crate::report::{Report, Row, Target};

/// Both peers against sockeye, in all shapes of echo.
pub(crate) fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let programs = [
        Program::Sockeye(Build::This),
        Program::Peer(Peer::Tungstenite),
        Program::Peer(Peer::Fastwebsockets),
    ];
    for load in echo::LOADS {
        let rounds =
            alternate(&bench.plan, programs.len(), |index| echo::start(bench, &programs[index], load))?;
        for (index, program) in programs.iter().enumerate().skip(1) {
            let figure = format!("CPU {} / sockeye", program.name());
            report.push(Row::of_ratio(load.name, &figure, &rounds, (index, 0), Target::None));
        }
    }
    Ok(())
}
