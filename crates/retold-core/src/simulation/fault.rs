//! What can go wrong in a simulation, and how often it does.

use std::fmt;

use fastrand::Rng;

/// Chances are given in thousandths of the occasions.
pub const CHANCE_WHOLE: u16 = 1_000;

/// A kind of fault: what a store, a process or a clock may do at any time, as the contract allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Fault {
    /// A call is answered with `Unavailable`; nothing was done.
    Unavailable,
    /// An append is carried out and answered with `OutcomeUnknown`.
    UnknownRecorded,
    /// An append is not carried out and answered with `OutcomeUnknown`.
    UnknownNotRecorded,
    /// An append is answered with `OutcomeUnknown` and carried out at some later step.
    UnknownLate,
    /// Whoever waits for a change is not told of one until it polls by itself.
    HintLost,
    /// Whoever waits for a change is told later than others would be.
    HintLate,
    /// Whoever waits for a change is told although there is none.
    HintDoubled,
    /// The process ends instead of the call. What else it had on the way lands late or never.
    CrashBefore,
    /// The process ends after the call was carried out, before the answer arrives. What else it had on
    /// the way lands late or never.
    CrashAfter,
    /// All processes end at once.
    CrashOfAll,
    /// The clock jumps forward.
    ClockForward,
    /// The clock jumps back.
    ClockBack,
}

impl Fault {
    /// All kinds.
    pub const ALL: [Self; 12] = [
        Self::Unavailable,
        Self::UnknownRecorded,
        Self::UnknownNotRecorded,
        Self::UnknownLate,
        Self::HintLost,
        Self::HintLate,
        Self::HintDoubled,
        Self::CrashBefore,
        Self::CrashAfter,
        Self::CrashOfAll,
        Self::ClockForward,
        Self::ClockBack,
    ];

    /// What may happen to an append when its turn comes.
    pub(crate) const OF_APPENDS: [Self; 6] = [
        Self::Unavailable,
        Self::UnknownRecorded,
        Self::UnknownNotRecorded,
        Self::UnknownLate,
        Self::CrashBefore,
        Self::CrashAfter,
    ];

    /// What may happen to any other call.
    pub(crate) const OF_CALLS: [Self; 3] = [Self::Unavailable, Self::CrashBefore, Self::CrashAfter];

    /// What may happen to whoever waits for the clock.
    pub(crate) const OF_WAITS: [Self; 2] = [Self::CrashBefore, Self::CrashAfter];

    /// What may happen to the news of a change.
    pub(crate) const OF_HINTS: [Self; 2] = [Self::HintLost, Self::HintLate];

    /// What may happen between two steps.
    pub(crate) const OF_THE_WORLD: [Self; 4] = [
        Self::HintDoubled,
        Self::CrashOfAll,
        Self::ClockForward,
        Self::ClockBack,
    ];

    /// Its place in [`ALL`](Self::ALL).
    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// The chance that finds most: often enough to meet others, seldom enough that work gets done.
    const fn chance_default(self) -> u16 {
        match self {
            Self::Unavailable => 20,
            Self::UnknownRecorded | Self::UnknownNotRecorded | Self::UnknownLate => 40,
            Self::HintLost | Self::HintLate => 150,
            Self::HintDoubled => 20,
            Self::CrashBefore | Self::CrashAfter => 8,
            Self::CrashOfAll => 2,
            Self::ClockForward => 20,
            Self::ClockBack => 5,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unavailable => "made unavailable",
            Self::UnknownRecorded => "carried out, answered as unknown",
            Self::UnknownNotRecorded => "not carried out, answered as unknown",
            Self::UnknownLate => "on its way, answered as unknown",
            Self::HintLost => "hint lost",
            Self::HintLate => "hint late",
            Self::HintDoubled => "hint doubled",
            Self::CrashBefore => "crash before it",
            Self::CrashAfter => "crash after it",
            Self::CrashOfAll => "crash of all",
            Self::ClockForward => "clock moved forward",
            Self::ClockBack => "clock moved back",
        })
    }
}

/// How often each kind of fault happens, in thousandths of its occasions.
///
/// Occasions are: for faults of calls, each such call; for hints, each change that somebody waits for;
/// for the rest, each step. Chances of one occasion add up; what is beyond a whole never happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    chances: [u16; Fault::ALL.len()],
}

impl Faults {
    /// Nothing goes wrong; calls only meet each other in any order.
    pub const fn none() -> Self {
        Self {
            chances: [0; Fault::ALL.len()],
        }
    }

    /// Everything goes wrong now and then.
    pub fn all() -> Self {
        Self {
            chances: Fault::ALL.map(Fault::chance_default),
        }
    }

    /// With this chance of one kind, in thousandths; more than [`CHANCE_WHOLE`] is as much as that.
    #[must_use]
    pub fn with(mut self, fault: Fault, chance: u16) -> Self {
        self.chances[fault.index()] = chance.min(CHANCE_WHOLE);
        self
    }

    /// Without one kind.
    #[must_use]
    pub fn without(self, fault: Fault) -> Self {
        self.with(fault, 0)
    }

    /// Without faults that end processes.
    #[must_use]
    pub fn without_crashes(self) -> Self {
        self.without(Fault::CrashBefore)
            .without(Fault::CrashAfter)
            .without(Fault::CrashOfAll)
    }

    /// Chance of a kind, in thousandths.
    pub fn chance(&self, fault: Fault) -> u16 {
        self.chances[fault.index()]
    }

    /// These faults as one seed has them: some kinds left out, others as often, rarer or more often.
    ///
    /// Runs in which everything happens are all alike, and one kind hides what another would show;
    /// runs that differ find more (Groce and others, "Swarm Testing", ISSTA 2012).
    pub(crate) fn varied(&self, random: &mut Rng) -> Self {
        let vary = |chance: u16| match random.u8(..6) {
            0 | 1 => 0,
            2 => chance.div_ceil(4),
            3 => chance.saturating_mul(3).min(CHANCE_WHOLE),
            _ => chance,
        };
        Self {
            chances: self.chances.map(vary),
        }
    }

    /// Which of these kinds happens on this occasion.
    pub(crate) fn draw(&self, kinds: &[Fault], random: &mut Rng) -> Option<Fault> {
        let mut drawn = random.u16(..CHANCE_WHOLE);
        for kind in kinds {
            let chance = self.chance(*kind);
            if drawn < chance {
                return Some(*kind);
            }
            drawn -= chance;
        }
        None
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::all()
    }
}
