//! One line, carried until it is over.

use std::pin::pin;

use davit_rpc::console::console_input::Input;
use davit_rpc::console::console_output::Output;
use davit_rpc::console::{Ended, StdinEnd, WindowSize};

use super::screen::Screen;
use super::typing::{Came, Typing, ring};
use super::{Line, number};
use crate::commands::Signals;
use crate::error::CliError;
use crate::terminal::Resizes;

/// What this side has.
pub(super) struct Sides<'a> {
    pub(super) typing: Option<&'a mut Typing>,
    pub(super) resizes: Option<&'a mut Resizes>,
    pub(super) screen: &'a mut Screen,
    /// Where they are the process's.
    pub(super) signals: Option<&'a mut Signals>,
}

/// Why a line is over.
#[derive(Debug)]
pub(super) enum Over {
    /// The other side said so.
    Ended(Ended),
    /// The user left.
    Left,
    /// A signal of this number came, which the line does not carry.
    Signaled(u8),
    /// It broke.
    Broke(CliError),
}

/// What waits to be sent beside what is typed.
#[derive(Default)]
struct Waiting {
    signal: Option<&'static str>,
    window: Option<WindowSize>,
    /// The end of the input is not said yet.
    end: bool,
}

/// What happened.
enum Turn {
    Said(Option<Result<Output, CliError>>),
    Room,
    Typed(Came),
    Resized(WindowSize),
    Signal(&'static str),
}

/// Both ways, until one side is over. An error is one of our own streams.
pub(super) async fn carry(line: Line, mut sides: Sides<'_>) -> Result<Over, CliError> {
    let Line {
        input,
        mut output,
        signals,
        ..
    } = line;
    let mut waiting = Waiting {
        end: true,
        ..Waiting::default()
    };
    loop {
        let typing = sides.typing.as_deref();
        let typed = typing.is_some_and(Typing::has_pending);
        let ends = typing.is_some_and(|typing| typing.has_ended() && waiting.end && !typed);
        let sends = typed || ends || waiting.signal.is_some() || waiting.window.is_some();
        let turn = {
            let sent = pin!(input.reserve());
            tokio::select! {
                said = output.recv() => Turn::Said(said),
                // Without a listener, why is on its way here.
                Ok(room) = sent, if sends => {
                    room.send(next(&mut waiting, sides.typing.as_deref_mut()));
                    Turn::Room
                }
                came = typed_next(&mut sides.typing) => Turn::Typed(came),
                size = resized(&mut sides.resizes) => Turn::Resized(size),
                name = signaled(&mut sides.signals) => Turn::Signal(name),
            }
        };
        match turn {
            Turn::Said(Some(Ok(Output::Ended(ended)))) => return Ok(Over::Ended(ended)),
            Turn::Said(Some(Ok(output))) => sides.screen.show(&output)?,
            Turn::Said(Some(Err(error))) => return Ok(Over::Broke(error)),
            Turn::Said(None) => {
                let missing = CliError::Protocol("the end of the console");
                return Ok(Over::Broke(missing));
            }
            Turn::Typed(Came::Detach) => return Ok(Over::Left),
            Turn::Typed(Came::Bell) => ring(),
            Turn::Typed(Came::Bytes | Came::End) | Turn::Room => {}
            Turn::Resized(size) => waiting.window = Some(size),
            Turn::Signal(name) if signals => waiting.signal = Some(name),
            Turn::Signal(name) => return Ok(Over::Signaled(number(name))),
        }
    }
}

fn next(waiting: &mut Waiting, typing: Option<&mut Typing>) -> Input {
    if let Some(name) = waiting.signal.take() {
        return Input::Signal(name.to_owned());
    }
    if let Some(size) = waiting.window.take() {
        return Input::WindowSize(size);
    }
    match typing {
        Some(typing) if typing.has_pending() => Input::Stdin(typing.take()),
        _ => {
            waiting.end = false;
            Input::StdinEnd(StdinEnd {})
        }
    }
}

async fn typed_next(typing: &mut Option<&mut Typing>) -> Came {
    match typing {
        Some(typing) if typing.is_wanted() => typing.next().await,
        _ => std::future::pending().await,
    }
}

async fn resized(resizes: &mut Option<&mut Resizes>) -> WindowSize {
    match resizes {
        Some(resizes) => resizes.next().await,
        None => std::future::pending().await,
    }
}

async fn signaled(signals: &mut Option<&mut Signals>) -> &'static str {
    match signals {
        Some(signals) => signals.next().await,
        None => std::future::pending().await,
    }
}
