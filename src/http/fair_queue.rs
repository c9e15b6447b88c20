//! A fair queue for the jobs of several plans and users: start-time fair queueing.
//!
//! Each job has a tag: the virtual time at which the job would begin if every user had a separate server. The tag of a
//! user's next job is later than the tag of the user's previous job by the cost of the previous job. So many or
//! expensive jobs of one user wait behind the jobs of other users, whatever plans the jobs belong to. Source: Goyal,
//! Vin and Cheng, "Start-time Fair Queuing", SIGCOMM 1996.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::ids::UserId;

/// Minimum number of stored users at which the virtual times of idle users are removed.
const MIN_USERS: usize = 1024;

/// The virtual time of a job, and its position among the jobs with the same virtual time.
type Tag = (u64, u64);

pub(super) struct FairQueue<J> {
    /// The jobs of each plan by their tags, with their costs.
    plans: HashMap<u64, BTreeMap<Tag, (u64, J)>>,
    /// The plans, by the tag of their first job.
    order: BTreeSet<(Tag, u64)>,
    /// The virtual time at which the last job of each user ends.
    ends: HashMap<UserId, u64>,
    cleanup_at: usize,
    now: u64,
    next: u64,
}

impl<J> Default for FairQueue<J> {
    fn default() -> Self {
        Self {
            plans: HashMap::new(),
            order: BTreeSet::new(),
            ends: HashMap::new(),
            cleanup_at: MIN_USERS,
            now: 0,
            next: 0,
        }
    }
}

impl<J> FairQueue<J> {
    pub(super) fn push(&mut self, plan: u64, user: UserId, cost: u64, job: J) {
        let end = self.ends.entry(user).or_default();
        let tag = (self.now.max(*end), self.next);
        *end = tag.0.saturating_add(cost);
        self.next += 1;
        let jobs = self.plans.entry(plan).or_default();
        let first = jobs.first_key_value().map(|(&first, _)| first);
        jobs.insert(tag, (cost, job));
        if first.is_none_or(|first| tag < first) {
            self.order.extend([(tag, plan)]);
            if let Some(first) = first {
                self.order.remove(&(first, plan));
            }
        }
        self.remove_idle_users();
    }

    /// Takes jobs of one plan from the queue. Among the plans that are not busy, chooses the plan whose first job is
    /// due next. The jobs cost at most `max_cost` together, but at least one job is taken. Returns None if no such plan
    /// has a job.
    pub(super) fn next_jobs(&mut self, is_busy: impl Fn(u64) -> bool, max_cost: u64) -> Option<(u64, Vec<J>)> {
        let &(tag, plan) = self.order.iter().find(|(_, plan)| !is_busy(*plan))?;
        self.order.remove(&(tag, plan));
        self.now = self.now.max(tag.0);
        let queued = self.plans.get_mut(&plan)?;
        let (mut jobs, mut sum) = (Vec::new(), 0_u64);
        while let Some(entry) = queued.first_entry() {
            sum = sum.saturating_add(entry.get().0);
            if sum > max_cost && !jobs.is_empty() {
                break;
            }
            jobs.push(entry.remove().1);
        }
        match queued.first_key_value() {
            Some((&first, _)) => {
                self.order.insert((first, plan));
            }
            None => {
                self.plans.remove(&plan);
            }
        }
        Some((plan, jobs))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Removes users whose last job ends in the past, because such a user is treated like a new user.
    fn remove_idle_users(&mut self) {
        if self.ends.len() >= self.cleanup_at {
            let now = self.now;
            self.ends.retain(|_, end| *end > now);
            self.cleanup_at = MIN_USERS.max(2 * self.ends.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: u128) -> UserId {
        UserId(uuid::Uuid::from_u128(number))
    }

    fn drain(queue: &mut FairQueue<&'static str>, max_cost: u64) -> Vec<Vec<&'static str>> {
        std::iter::from_fn(|| queue.next_jobs(|_| false, max_cost).map(|(_, jobs)| jobs)).collect()
    }

    #[test]
    fn jobs_of_one_plan_are_taken_together_up_to_the_cost() {
        let mut queue = FairQueue::default();
        for (index, job) in ["a", "b", "c"].into_iter().enumerate() {
            queue.push(1, user(index as u128), 10, job);
        }
        assert_eq!(drain(&mut queue, 25), [vec!["a", "b"], vec!["c"]]);
        queue.push(1, user(9), 1000, "dear");
        assert_eq!(drain(&mut queue, 25), [["dear"]], "one job is always taken");
        assert!(queue.is_empty());
    }

    #[test]
    fn the_jobs_of_a_user_with_many_plans_wait_for_other_users() {
        let mut queue = FairQueue::default();
        for plan in 0..50 {
            queue.push(plan, user(1), 1000, "many");
        }
        queue.push(100, user(2), 10, "one");
        queue.push(100, user(3), 10, "other");
        let batches = drain(&mut queue, 1000);
        assert_eq!(batches[..2], [vec!["many"], vec!["one", "other"]]);
        assert_eq!(batches.len(), 51);
    }

    #[test]
    fn a_users_second_job_waits_for_the_first_jobs_of_others() {
        let mut queue = FairQueue::default();
        for job in ["1", "2", "3"] {
            queue.push(1, user(1), 10, job);
        }
        queue.push(1, user(2), 10, "other");
        assert_eq!(drain(&mut queue, 10), [["1"], ["other"], ["2"], ["3"]]);
    }

    #[test]
    fn next_jobs_skips_busy_plans() {
        let mut queue = FairQueue::default();
        queue.push(1, user(1), 10, "busy");
        queue.push(2, user(2), 10, "free");
        assert_eq!(queue.next_jobs(|plan| plan == 1, 100), Some((2, vec!["free"])));
        assert_eq!(queue.next_jobs(|plan| plan == 1, 100), None);
        assert_eq!(queue.next_jobs(|_| false, 100), Some((1, vec!["busy"])));
    }

    #[test]
    fn users_without_jobs_are_removed() {
        let mut queue = FairQueue::default();
        for number in 0..10 * MIN_USERS as u128 {
            queue.push(1, user(number), 1, "job");
            drain(&mut queue, 1);
            // Advances the virtual time.
            queue.push(2, user(u128::MAX), 2, "clock");
            drain(&mut queue, 1);
        }
        assert!(queue.ends.len() <= 2 * MIN_USERS, "{}", queue.ends.len());
    }
}
