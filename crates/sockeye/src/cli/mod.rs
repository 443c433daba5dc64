//! The command line: one file per command, with its flags and its help.
//!
//! Standard output carries payload only; what is for people goes to standard error. Deliberately absent: what a command
//! does, which is in `server` and `tool`.

mod check;
mod completions;
mod connect;
mod explain;
mod failure;
mod join;
mod listen;
mod log;
mod man;
mod probe;
mod publish;
mod relay;
mod serve;
mod subscribe;
mod token;

use clap::{CommandFactory as _, Parser, Subcommand};

pub use failure::Failure;

/// The real-time server where every kind of socket meets on the same channels.
#[derive(Debug, Parser)]
#[command(name = "sockeye", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Begin with `sockeye serve`, and open the page that it prints.")]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the server
    Serve(serve::Serve),
    /// Publish a message, or every line of standard input
    Pub(publish::Publish),
    /// Hear a channel or a pattern, one message a line
    Sub(subscribe::Subscribe),
    /// Make a signed token, for trying
    Token(token::Token),
    /// Check a configuration, or print every key with its value and what it does
    Check(check::Check),
    /// Connect standard input and output to an address
    Connect(Box<connect::Connect>),
    /// Listen on an address, and join who comes with standard input and output or with a command
    Listen(Box<listen::Listen>),
    /// Join two addresses, in both directions; `listen:` marks the side that is listened on
    Relay(Box<relay::Relay>),
    /// Say whether addresses are ready, with the time of each step
    Probe(probe::Probe),
    /// Explain an address: its layers, options, privileges and calls
    Explain(explain::Explain),
    /// Write what a shell needs to complete commands, flags and values
    Completions(completions::Completions),
    /// Write the manual, one page a command
    Man(man::Man),
}

/// Reads the arguments, does what they say, and returns the exit code.
pub fn run() -> u8 {
    // clap exits by itself: 0 after --help and --version, 2 after a wrong flag, which it names.
    let command = Command::parse();
    let result = match command.verb {
        Verb::Serve(serve) => serve.run(),
        Verb::Pub(publish) => publish.run(),
        Verb::Sub(subscribe) => subscribe.run(),
        Verb::Token(token) => token.run(),
        Verb::Check(check) => check.run(),
        Verb::Connect(connect) => connect.run(),
        Verb::Listen(listen) => listen.run(),
        Verb::Relay(relay) => relay.run(),
        Verb::Probe(probe) => probe.run(),
        Verb::Explain(explain) => explain.run(),
        Verb::Completions(completions) => completions.run(Command::command()),
        Verb::Man(man) => man.run(Command::command()),
    };
    match result {
        Ok(()) => 0,
        Err(failure) => {
            failure.tell();
            failure.kind.exit_code()
        }
    }
}
