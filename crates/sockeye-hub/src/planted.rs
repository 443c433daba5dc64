//! Bugs that can be planted, so that the simulation can show that it finds them.
//!
//! Without the feature `planted-bugs`, which only the simulation switches on, every question here is answered by a
//! constant, and nothing of it is left in the build. Deliberately absent: a bug that would be found without looking.

/// A bug that somebody could have made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// A short read proves that nothing is left, although the edge told of the end too.
    LostWakeUp,
    /// A client that has no room reads on one message too late.
    LagTooLate,
    /// A gap ends one place before what follows.
    GapTooShort,
    /// What is taken back is not read again.
    ReclaimForgets,
    /// The end of a subscription is confirmed before it has ended.
    ConfirmedTooSoon,
    /// What comes to an outbox that is exactly full is dropped.
    FullOutboxDrops,
    /// What a page brought is taken again when it is delivered.
    PageTwice,
    /// Who waits for an answer that is not told stays asleep.
    SilentAnswerSleeps,
    /// A gap that waits to be written outlives the messages before it.
    GapOutlives,
    /// Whoever may publish somewhere may publish anywhere.
    RightUnasked,
    /// What was said at once and did not fit is said no more.
    RestForgotten,
    /// A write that was not tried is not tried again.
    UntriedSleeps,
    /// What was encrypted and not sent is not kept.
    UnsentForgotten,
}

impl Planted {
    /// All of them.
    pub const ALL: [Planted; 13] = [
        Planted::LostWakeUp,
        Planted::LagTooLate,
        Planted::GapTooShort,
        Planted::ReclaimForgets,
        Planted::ConfirmedTooSoon,
        Planted::FullOutboxDrops,
        Planted::PageTwice,
        Planted::SilentAnswerSleeps,
        Planted::GapOutlives,
        Planted::RightUnasked,
        Planted::RestForgotten,
        Planted::UntriedSleeps,
        Planted::UnsentForgotten,
    ];
}

#[cfg(feature = "planted-bugs")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Planted>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug in everything that runs on this thread, or takes it away.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<Planted>) {
    PLANTED.set(bug);
}

/// Whether this bug is planted here.
#[cfg(feature = "planted-bugs")]
#[inline]
pub fn is_planted(bug: Planted) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether this bug is planted here: no.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
pub const fn is_planted(_: Planted) -> bool {
    false
}
