//! Other bounds and rules for a hub that runs.
//!
//! A bound is asked when something reaches it, so another one holds from the next time on, and nothing is taken from anybody
//! for having been within the one before. What a channel keeps is looked at again for every channel: a change of rules costs a
//! walk over all of them, once.

use crate::{
    channel::Side,
    history::Totals,
    hub::Hub,
    limit::{Limits, Rule, RuleKind},
    request::Now,
};

impl Hub {
    /// Goes on under other bounds and other rules. As in [`Hub::new`], [`Rule::kept`] for every name is added as the last.
    pub fn reconfigure(&mut self, limits: Limits, mut rules: Vec<Rule>, now: Now) {
        self.latest = now;
        self.limits = limits;
        rules.push(Rule::kept("#"));
        if rules != self.rules {
            self.rules = rules;
            for index in 0..self.channels.places() {
                self.apply_rule(index, now);
            }
        }
        self.keep_totals(now);
    }

    /// Finds the rule of a channel again, and lets go of what it does not keep.
    fn apply_rule(&mut self, index: u32, now: Now) {
        if !self.channels.exists(index) {
            return;
        }
        let channel = self.channels.get_mut(index);
        let Side::Home(home) = &mut channel.side else { return };
        let number = self.rules.iter().position(|rule| rule.applies_to(&channel.name));
        home.rule = number.expect("the last rule is for every name");
        let (rule, totals): (&Rule, &mut Totals) = (&self.rules[home.rule], &mut self.totals);
        match rule.kind {
            // What follows is not kept, and a history that does not end at the newest message is none.
            RuleKind::Live => {
                while !home.history.is_empty() {
                    home.history.evict(totals);
                }
            }
            RuleKind::Kept => {
                home.history.expire(now.ms, rule, totals);
                home.history.recount(rule, totals);
            }
        }
        self.settle(index, now);
    }
}
