//! Sends the requests of a pass: first turns when the load says, later turns when the answer before is complete and the
//! think time is over.
//!
//! A conversation is one unit of the load: it holds its place in a closed loop (or under `run.max_in_flight`) from its
//! first send to its last end, think time included. Its history carries answers without their thoughts, as most chat
//! templates have it. A turn that has no answer has no next turn: those that are left become
//! rows that say so. This module knows neither how arrivals are spaced nor how an answer is read.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::RunnableArm;
use super::closed_loop::{Asked, Pass, PassEnd, RunState, resume};
use super::request::{Measured, measure};
use super::rounds::Rounds;
use crate::clock;
use crate::jsonl::RowError;
use crate::preset::PromptSpec;
use crate::record::{Arrival, Outcome, Phase, Turn};
use crate::stack::Exchange;

/// What was said in a conversation so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// Turns that are over, oldest first.
    pub(super) history: Vec<Exchange>,
    /// When the last answer ended.
    pub(super) answered: Option<Instant>,
}

/// The first turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Start {
    /// When it is due, nanoseconds after the beginning of the pass; `None`: when there is room.
    pub(super) at: Option<u64>,
    pub(super) asked: Asked,
}

/// All of a pass.
pub(super) struct Sending {
    /// In the order in which they are sent.
    pub(super) starts: Vec<Start>,
    /// Conversations at once.
    pub(super) most: usize,
    /// The zero of intended times.
    pub(super) began: Instant,
    /// Whether rows tell when in the pass they were sent.
    pub(super) is_open: bool,
    /// What comes after `starts`, around and around, where time ends a closed loop.
    pub(super) rounds: Option<Rounds>,
}

/// A turn that waits for its user, or for room.
struct Due {
    at: Instant,
    asked: Asked,
}

impl Said {
    /// The answers so far.
    pub(super) fn answers(&self) -> impl Iterator<Item = &str> {
        self.history.iter().map(|exchange| exchange.assistant.as_str())
    }
}

impl Asked {
    /// What the row says of its conversation; nothing where the prompt is no conversation.
    pub(super) fn turn_of(&self, prompt: &PromptSpec, pass: Pass) -> Option<Turn> {
        (prompt.turns() > 1).then(|| Turn {
            conversation: format!("{}/{}/{}", prompt.id, pass.block, self.slot),
            turn: self.turn + 1,
            of: prompt.turns(),
            since_answer_ns: None,
        })
    }

    /// In a closed loop a request is meant to be sent when there is room for it.
    fn sent_at(mut self, now_ns: Option<u64>) -> Self {
        if let (Some(arrival), Some(now_ns)) = (&mut self.arrival, now_ns) {
            arrival.intended_ns = now_ns;
        }
        self
    }

    /// The next turn, which nobody has sent.
    fn unsent(mut self, intended_ns: Option<u64>) -> Self {
        self.turn += 1;
        self.arrival = self.arrival.map(|arrival| Arrival {
            intended_ns: intended_ns.unwrap_or(arrival.intended_ns),
            sent_ns: None,
            ..arrival
        });
        self
    }
}

/// What comes after a request.
enum Next {
    /// It was the last of its conversation, or the run is ending.
    Nothing,
    /// The user answers.
    Turn(Due),
    /// There is no answer that the user could reply to; the turn that was asked.
    Silence(Asked),
}

impl RunState<'_> {
    /// Sends everything when it is due and stores the rows.
    ///
    /// Sending goes before storing. A server that died is started again between them; what was due meanwhile goes out
    /// late, and its row says by how much.
    pub(super) async fn send_all(
        &mut self,
        arm: &RunnableArm,
        pass: Pass,
        sending: Sending,
    ) -> Result<PassEnd, RowError> {
        let Sending { starts, most, began, is_open, mut rounds } = sending;
        let due_of = |start: Start| Due {
            at: began + Duration::from_nanos(start.at.unwrap_or_default()),
            asked: start.asked,
        };
        let mut starts: VecDeque<Due> = starts.into_iter().map(due_of).collect();
        // Ascending: the think time is the same for all, and answers are taken in as they end.
        let mut later: VecDeque<Due> = VecDeque::new();
        let mut in_flight = JoinSet::new();
        loop {
            if self.arms[pass.arm].cold && in_flight.is_empty() {
                self.warm_up_again(arm, pass).await?;
                continue;
            }
            if let Some(rounds) = &mut rounds {
                let asked = rounds.next(Instant::now());
                starts = asked.map(|asked| Due { at: began, asked }).into_iter().collect();
            }
            let may_send = !self.cancel.is_cancelled() && !self.arms[pass.arm].cold;
            let has_room = in_flight.len() + later.len() < most;
            let first = starts.front().map(|due| due.at).filter(|_| may_send && has_room);
            let next = later.front().map(|due| due.at).filter(|_| may_send);
            let from_later = next.is_some_and(|next| first.is_none_or(|first| next <= first));
            let queue = if from_later { &mut later } else { &mut starts };
            let at = if from_later { next } else { first };
            if let (Some(_), Some(why)) = (at, self.arms[pass.arm].given_up.clone()) {
                if let Some(due) = queue.pop_front() {
                    let identity = self.identity(arm, pass, &due.asked);
                    self.store(pass.arm, Measured::given_up(identity, &why))?;
                    self.give_up_after(arm, pass, due.asked, &why)?;
                }
                // One row says it; nobody knows how many there would have been.
                if let Some(rounds) = &mut rounds {
                    rounds.end();
                }
                continue;
            }
            tokio::select! {
                biased;
                () = sleep_until(at.unwrap_or(began)), if at.is_some() => {
                    let Some(Due { mut asked, .. }) = queue.pop_front() else { break };
                    if let Some(rounds) = &mut rounds {
                        rounds.sent();
                        asked = asked.sent_at(clock::elapsed_ns(began, Instant::now()));
                    }
                    let mut job = self.job(arm, pass, &asked);
                    job.pass_began = is_open.then_some(began);
                    let cancel = self.cancel.clone();
                    in_flight.spawn(async move { (measure(job, cancel).await, asked) });
                }
                Some(ended) = in_flight.join_next(), if !in_flight.is_empty() => {
                    let (measured, asked) = ended.unwrap_or_else(resume);
                    let next = self.after(pass, &measured, asked, began);
                    if let Some(rounds) = &mut rounds {
                        rounds.note(&measured.record.outcome);
                    }
                    self.keep(arm, pass.arm, measured).await?;
                    match next {
                        Next::Nothing => {}
                        Next::Turn(due) => {
                            let place = later.partition_point(|other| other.at <= due.at);
                            later.insert(place, due);
                        }
                        Next::Silence(asked) => {
                            let why = format!("turn {} of its conversation was not answered", asked.turn + 1);
                            self.give_up_after(arm, pass, asked, &why)?;
                        }
                    }
                }
                () = self.cancel.cancelled(), if at.is_some() => {}
                else => break,
            }
        }
        Ok(self.pass_end())
    }
    /// What follows a request that has ended. Warm-up asks first turns alone.
    fn after(&self, pass: Pass, measured: &Measured, mut asked: Asked, began: Instant) -> Next {
        let preset = self.plan.preset;
        let prompt = &preset.workload.prompts[asked.prompt];
        let (true, Some(user)) = (pass.phase == Phase::Measured, prompt.user_text(asked.turn)) else {
            return Next::Nothing;
        };
        if asked.turn + 1 >= prompt.turns() {
            return Next::Nothing;
        }
        match (&measured.record.outcome, measured.ended) {
            (Outcome::Completed { .. }, Some(ended)) => {
                let assistant = measured.record.answer().to_owned();
                asked.said.history.push(Exchange { user: user.to_owned(), assistant });
                asked.said.answered = Some(ended);
                let at = ended + Duration::from_millis(preset.run.think_time_ms);
                Next::Turn(Due { at, asked: asked.unsent(clock::elapsed_ns(began, at)) })
            }
            (Outcome::Cancelled, _) => Next::Nothing,
            (Outcome::Completed { .. } | Outcome::Failed { .. } | Outcome::TimedOut { .. }, _) => {
                Next::Silence(asked)
            }
        }
    }

    /// Rows of the turns after one that has no answer.
    fn give_up_after(
        &mut self,
        arm: &RunnableArm,
        pass: Pass,
        mut asked: Asked,
        why: &str,
    ) -> Result<(), RowError> {
        let turns = self.plan.preset.workload.prompts[asked.prompt].turns();
        while pass.phase == Phase::Measured && asked.turn + 1 < turns {
            asked = asked.unsent(None);
            let identity = self.identity(arm, pass, &asked);
            self.store(pass.arm, Measured::given_up(identity, why))?;
        }
        Ok(())
    }
}
