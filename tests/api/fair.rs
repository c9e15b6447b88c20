//! `Pool`, a worker pool. Each job has a key, such as its client, and the pool serves the keys in turn.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use parlance::fair::{Bounds, Gone, Permit, Pool, Refusal};
use tokio::task::JoinHandle;

use crate::support::eventually;

fn pool(workers: usize, queue: usize, share: usize) -> Pool<&'static str> {
    Pool::new(Bounds { workers, queue, share })
}

async fn hold(pool: &Pool<&'static str>, key: &'static str) -> Permit<&'static str> {
    pool.permit(key, &Gone::default()).await.unwrap()
}

/// Starts a task that waits for a permit of the pool. Returns when the task is in the queue or has ended.
async fn wait(pool: &Pool<&'static str>, key: &'static str, gone: &Gone, done: &Done) -> JoinHandle<Option<Refusal>> {
    let (_, before) = pool.load();
    let (pool_of_job, gone, done) = (pool.clone(), gone.clone(), Arc::clone(done));
    let job = tokio::spawn(async move {
        let permit = match pool_of_job.permit(key, &gone).await {
            Ok(permit) => permit,
            Err(refusal) => return Some(refusal),
        };
        done.lock().unwrap().push(key);
        drop(permit);
        None
    });
    eventually("the job is in the queue", async || pool.load().1 != before || job.is_finished()).await;
    job
}

type Done = Arc<Mutex<Vec<&'static str>>>;

#[tokio::test]
async fn keys_are_served_in_turn() {
    let (pool, done, gone) = (pool(1, 100, 100), Done::default(), Gone::default());
    let busy = hold(&pool, "flood").await;
    let mut jobs = Vec::new();
    for key in ["flood", "flood", "flood", "flood", "ada", "ada", "bob"] {
        jobs.push(wait(&pool, key, &gone, &done).await);
    }
    assert_eq!(pool.load(), (1, 7));
    drop(busy);
    for job in jobs {
        assert_eq!(job.await.unwrap(), None);
    }
    assert_eq!(*done.lock().unwrap(), ["flood", "ada", "bob", "flood", "ada", "flood", "flood"]);
    assert_eq!(pool.load(), (0, 0));
}

#[tokio::test]
async fn the_queue_and_the_share_of_each_key_are_bounded() {
    let (pool, done, gone) = (pool(2, 3, 2), Done::default(), Gone::default());
    let busy = [hold(&pool, "ada").await, hold(&pool, "ada").await];
    let waiting = [wait(&pool, "ada", &gone, &done).await, wait(&pool, "ada", &gone, &done).await];
    assert_eq!(pool.permit("ada", &gone).await.unwrap_err(), Refusal::ShareFull);
    let last = wait(&pool, "bob", &gone, &done).await;
    assert_eq!(pool.permit("bob", &gone).await.unwrap_err(), Refusal::QueueFull);
    assert_eq!(pool.permit("eve", &gone).await.unwrap_err(), Refusal::QueueFull);
    drop(busy);
    for job in waiting.into_iter().chain([last]) {
        assert_eq!(job.await.unwrap(), None);
    }
    let again = [hold(&pool, "ada").await, hold(&pool, "ada").await];
    assert_eq!(pool.load(), (2, 0));
    drop(again);
    assert_eq!(pool.load(), (0, 0));
}

#[tokio::test]
async fn a_job_leaves_the_queue_when_its_client_disconnects() {
    let (pool, done) = (pool(1, 10, 10), Done::default());
    let busy = hold(&pool, "ada").await;
    let (gone, guard) = Gone::on_drop();
    let first = wait(&pool, "ada", &gone, &done).await;
    let second = wait(&pool, "ada", &Gone::default(), &done).await;
    drop(guard);
    assert_eq!(first.await.unwrap(), Some(Refusal::Gone));
    assert_eq!(pool.load(), (1, 1));
    assert_eq!(pool.permit("ada", &gone).await.unwrap_err(), Refusal::Gone);
    drop(busy);
    assert_eq!(second.await.unwrap(), None);
    assert_eq!(*done.lock().unwrap(), ["ada"]);
    assert_eq!(pool.load(), (0, 0));
}

#[tokio::test]
async fn a_dropped_job_leaves_the_queue_and_frees_its_permit() {
    let (pool, gone) = (pool(1, 10, 10), Gone::default());
    let busy = hold(&pool, "ada").await;
    {
        let mut waiting = Box::pin(pool.permit("ada", &gone));
        assert!(tokio::time::timeout(Duration::ZERO, &mut waiting).await.is_err());
        assert_eq!(pool.load(), (1, 1));
    }
    assert_eq!(pool.load(), (1, 0));
    {
        let mut waiting = Box::pin(pool.permit("ada", &gone));
        assert!(tokio::time::timeout(Duration::ZERO, &mut waiting).await.is_err());
        // The pool grants the permit to the waiting future, which is dropped before it takes the permit.
        drop(busy);
        assert_eq!(pool.load(), (1, 0));
    }
    assert_eq!(pool.load(), (0, 0));
}

/// Jobs of many keys are queued, run and dropped on many threads. No permit is lost or granted twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_permit_is_lost_under_contention() {
    const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];
    let pool = pool(3, 50, 20);
    let jobs = (0..400).map(|number: usize| {
        let pool = pool.clone();
        tokio::spawn(async move {
            let (gone, guard) = Gone::on_drop();
            let permit = pool.permit(KEYS[number % KEYS.len()], &gone);
            match number % 4 {
                0 => drop(tokio::time::timeout(Duration::from_micros(number as u64), permit).await),
                1 => {
                    tokio::spawn(async move { drop(guard) });
                    drop(permit.await);
                }
                _ => {
                    let permit = permit.await;
                    tokio::task::yield_now().await;
                    assert!(pool.load().0 <= 3);
                    drop(permit);
                }
            }
        })
    });
    for job in jobs.collect::<Vec<_>>() {
        job.await.unwrap();
    }
    assert_eq!(pool.load(), (0, 0));
}
