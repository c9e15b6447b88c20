//! Who is in which conversation, and how much is said there.

use std::collections::HashSet;

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::Plan;

/// A conversation before it is written.
pub(super) struct Shape {
    pub(super) group: bool,
    /// Places of users. The first is the one who made it.
    pub(super) members: Vec<u32>,
    pub(super) messages: u32,
}

/// Most groups are small, and some are not.
const LARGEST_GROUP: u32 = 60;
/// The one that everybody is in, as far as that goes.
const EVERYBODY: u32 = 500;
/// How much more is said in a group.
const GROUP_WEIGHT: f64 = 4.0;

pub(super) fn shapes(plan: &Plan, rng: &mut StdRng) -> Vec<Shape> {
    let pairs = u64::from(plan.users) * u64::from(plan.users - 1) / 2;
    // Far from all pairs, so that a random one is mostly new.
    let most = u32::try_from(pairs.div_ceil(2)).unwrap_or(u32::MAX);
    let directs = plan.directs.unwrap_or_else(|| plan.users.saturating_mul(4)).min(most);
    let groups = plan.groups.unwrap_or(plan.users);
    let mut shapes = Vec::with_capacity(groups as usize + directs as usize);
    for place in 0..groups {
        let skewed = rng.random::<f64>().powi(3);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
        let size = if place == 0 { EVERYBODY } else { 3 + (skewed * f64::from(LARGEST_GROUP - 3)) as u32 };
        shapes.push(Shape { group: true, members: sample(plan.users, size.min(plan.users), rng), messages: 0 });
    }
    let mut known = HashSet::new();
    for _ in 0..directs {
        let pair = loop {
            let pair = sample(plan.users, 2, rng);
            if known.insert((pair[0].min(pair[1]), pair[0].max(pair[1]))) {
                break pair;
            }
        };
        shapes.push(Shape { group: false, members: pair, messages: 0 });
    }
    share_out(plan.messages, &mut shapes, rng);
    shapes
}

/// Different users, in no order.
fn sample(users: u32, size: u32, rng: &mut StdRng) -> Vec<u32> {
    let mut members = rand::seq::index::sample(rng, users as usize, size as usize).into_vec();
    // The sample of all is in order where it is most of them.
    let last = members.len().saturating_sub(1);
    members.swap(0, rng.random_range(0..=last));
    members.into_iter().map(|place| u32::try_from(place).unwrap_or(u32::MAX)).collect()
}

/// A few conversations have most of the messages.
fn share_out(messages: u64, shapes: &mut [Shape], rng: &mut StdRng) {
    let weights: Vec<f64> = shapes
        .iter()
        .map(|shape| (if shape.group { GROUP_WEIGHT } else { 1.0 }) / (rng.random::<f64>() + 0.03))
        .collect();
    let total: f64 = weights.iter().sum();
    let mut left = messages;
    for (shape, weight) in shapes.iter_mut().zip(&weights) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of a number that was given"
        )]
        let share = (messages as f64 * weight / total) as u64;
        shape.messages = u32::try_from(share.min(left)).unwrap_or(u32::MAX);
        left -= u64::from(shape.messages);
    }
    // What rounding has left over, one for each: it is less than there are conversations.
    for shape in shapes.iter_mut().take(usize::try_from(left).unwrap_or(usize::MAX)) {
        shape.messages += 1;
    }
}
