//! Chooses the members of each conversation, and the number of its messages.

use std::collections::HashSet;

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::Plan;

/// A conversation before it is written.
pub(super) struct Shape {
    pub(super) group: bool,
    /// Indexes of the members in the list of users. The first member is the creator.
    pub(super) members: Vec<u32>,
    pub(super) messages: u32,
}

/// Maximum number of members of a group, except the first group. Most groups are much smaller.
const MAX_GROUP_SIZE: u32 = 60;
/// Number of members of the first group. If fewer users exist, all users are members.
const FIRST_GROUP_SIZE: u32 = 500;
/// Average number of messages in a group for each message in a direct conversation.
const GROUP_WEIGHT: f64 = 4.0;

pub(super) fn shapes(plan: &Plan, rng: &mut StdRng) -> Vec<Shape> {
    let pairs = u64::from(plan.users) * u64::from(plan.users - 1) / 2;
    // At most half of all pairs get a conversation, so that a random pair usually has no conversation yet.
    let max_directs = u32::try_from(pairs.div_ceil(2)).unwrap_or(u32::MAX);
    let directs = plan.directs.unwrap_or_else(|| plan.users.saturating_mul(4)).min(max_directs);
    let groups = plan.groups.unwrap_or(plan.users);
    let mut shapes = Vec::with_capacity(groups as usize + directs as usize);
    for index in 0..groups {
        let skewed = rng.random::<f64>().powi(3);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
        let size = if index == 0 { FIRST_GROUP_SIZE } else { 3 + (skewed * f64::from(MAX_GROUP_SIZE - 3)) as u32 };
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
    distribute_messages(plan.messages, &mut shapes, rng);
    shapes
}

/// Chooses different users at random, and returns their indexes.
fn sample(users: u32, size: u32, rng: &mut StdRng) -> Vec<u32> {
    let mut members = rand::seq::index::sample(rng, users as usize, size as usize).into_vec();
    // A sample that has most of the users may be sorted, so a random member is moved to the first place.
    let last = members.len().saturating_sub(1);
    members.swap(0, rng.random_range(0..=last));
    members.into_iter().map(|index| u32::try_from(index).unwrap_or(u32::MAX)).collect()
}

/// Distributes the messages, so that a few conversations have most of them.
fn distribute_messages(messages: u64, shapes: &mut [Shape], rng: &mut StdRng) {
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
    // After rounding down, fewer messages than conversations are left. The first conversations get one more message
    // each.
    for shape in shapes.iter_mut().take(usize::try_from(left).unwrap_or(usize::MAX)) {
        shape.messages += 1;
    }
}
