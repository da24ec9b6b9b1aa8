//! Which of several processes on one PostgreSQL schedules.
//!
//! Time is the database's, so that clocks may differ. A lease that was lost is noticed by every write: see [`Store::fence`].

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        OnceLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use super::{
    Store, StoreError, Writer,
    db::{self, from_row},
    postgres, schema,
};
use crate::model::time::Timestamp;

/// How often it is looked whether the lease holds again.
const LOOK: Duration = Duration::from_millis(20);

/// Who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// The process.
    pub holder: String,
    /// Where it answers.
    pub url: String,
    /// Grows with each holder, and with each connection that a holder lost in the middle of a write.
    pub epoch: i64,
}

/// What this process holds of the lease.
#[derive(Debug)]
pub(super) struct Fence {
    /// 0: none is needed.
    epoch: AtomicI64,
    holder: OnceLock<String>,
    /// See [`postgres::HISTORY`].
    history: OnceLock<String>,
    /// When the lease ends by this process's clock, in microseconds since `base`.
    until_us: AtomicU64,
    base: Instant,
}

impl Fence {
    /// Of a database that nobody else uses.
    pub fn none() -> Self {
        Self {
            epoch: AtomicI64::new(0),
            holder: OnceLock::new(),
            history: OnceLock::new(),
            until_us: AtomicU64::new(u64::MAX),
            base: Instant::now(),
        }
    }

    pub fn epoch(&self) -> i64 {
        self.epoch.load(Ordering::SeqCst)
    }

    fn is_over(&self) -> bool {
        micros(self.base.elapsed()) > i64::try_from(self.until_us.load(Ordering::SeqCst)).unwrap_or(i64::MAX)
    }
}

from_row!(Leader { holder, url, epoch });

impl Store {
    /// Whether other processes may use the database, so that a lease is needed.
    pub fn is_shared(&self) -> bool {
        matches!(self.readers(), db::Pool::Postgres(_))
    }

    /// Shows the database that the process `holder` is there, for as long as the connection that writes is.
    pub async fn show_presence(&self, holder: &str) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let Writer { connection, reconnect, .. } = &mut *writer;
        if let (db::Connection::Postgres(connection), Some(options)) = (connection, reconnect) {
            options.show_presence(connection, holder).await?;
        }
        Ok(())
    }

    /// Takes the lease for `holder` if nobody has it; the epoch then. It is `gone`'s no more if that process shows no presence either:
    /// that its connection ended is not enough, as it may make another one, so whoever names it has to know better.
    ///
    /// Waits for what the last holder is committing at this moment, which is seen afterwards.
    ///
    /// # Errors
    /// [`StoreError::Newer`] if a newer version has changed the schema: this process must not lead any more.
    pub async fn lease_take(
        &self,
        holder: &str,
        url: &str,
        ttl: Duration,
        gone: Option<&str>,
    ) -> Result<Option<i64>, StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        db::query(include_str!("sql/lease_lock.postgres.sql")).execute(&mut *transaction).await?;
        if let db::Connection::Postgres(connection) = &mut *transaction {
            // Who changes it leads meanwhile, so that it stays as it is seen here.
            schema::postgres_age(connection).await?.refuse_newer()?;
        }
        let taken: Option<i64> = db::query_scalar(include_str!("sql/lease_take.postgres.sql"))
            .bind(holder)
            .bind(url)
            .bind(micros(ttl))
            .bind(gone)
            .fetch_optional(&mut *transaction)
            .await?;
        transaction.commit().await?;
        if let (Some(_), Writer { connection, reconnect: Some(options), .. }) = (taken, &mut *writer) {
            // Refused by services that have no timelines; what is committed there stays.
            options.history = db::query_scalar(postgres::HISTORY).fetch_one(connection).await.ok();
            if let Some(history) = &options.history {
                self.shared.fence.history.get_or_init(|| history.clone());
            }
        }
        Ok(taken)
    }

    /// Keeps the lease for another `ttl`; false if it is no longer `holder`'s, or the database no longer the one that it leads.
    pub async fn lease_renew(&self, holder: &str, ttl: Duration) -> Result<bool, StoreError> {
        if let Some(led) = self.shared.fence.history.get() {
            let history: String = db::query_scalar(postgres::HISTORY).fetch_one(self.readers()).await?;
            if history != *led {
                postgres::tell_replaced();
                self.lease_release(holder).await?;
                return Ok(false);
            }
        }
        let renew = db::query(include_str!("sql/lease_renew.postgres.sql")).bind(holder).bind(micros(ttl));
        // Not on the connection that writes, which may be busy.
        Ok(renew.execute(self.readers()).await? == 1)
    }

    /// Gives the lease back, so that another process need not wait for its end.
    pub async fn lease_release(&self, holder: &str) -> Result<(), StoreError> {
        db::query(include_str!("sql/lease_release.postgres.sql")).bind(holder).execute(self.readers()).await?;
        Ok(())
    }

    /// How far `now`, of this process's clock, is ahead of the database's clock, in microseconds.
    pub async fn clock_ahead_us(&self, now: Timestamp) -> Result<i64, StoreError> {
        let theirs: i64 = db::query_scalar("SELECT airlock_now()").fetch_one(self.readers()).await?;
        Ok(now.as_micros() - theirs)
    }

    /// Who leads at this moment.
    pub async fn leader(&self) -> Result<Option<Leader>, StoreError> {
        Ok(db::query_as(include_str!("sql/lease_get.postgres.sql")).fetch_optional(self.readers()).await?)
    }

    /// From now on, writes fail as [`StoreError::Fenced`] unless `epoch`, which is `holder`'s, leads; and by this process's own clock
    /// it leads until `until`. A process holds the lease once.
    pub fn fence(&self, holder: &str, epoch: i64, until: Instant) {
        self.shared.fence.holder.get_or_init(|| holder.to_owned());
        self.shared.fence.epoch.store(epoch, Ordering::SeqCst);
        self.fence_until(until);
    }

    /// The lease was renewed.
    pub fn fence_until(&self, until: Instant) {
        let fence = &self.shared.fence;
        let until = until.saturating_duration_since(fence.base).as_micros();
        fence.until_us.store(u64::try_from(until).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// Waits while the lease is over by this process's own clock: another process may do by now what this one was about to do. One
    /// that was stopped and continued is here before it hears of that. Without a lease it does not wait.
    pub async fn leads(&self) {
        while self.shared.fence.is_over() {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Does `what` for as long as the lease holds by this process's own clock; none if it ended before `what` did. No step
    /// of it is begun after that, also not in a process that was stopped and continued: for what the database can't refuse.
    pub async fn while_it_leads<T>(&self, what: impl Future<Output = T>) -> Option<T> {
        let mut what = pin!(what);
        poll_fn(|context| {
            if self.shared.fence.is_over() {
                return Poll::Ready(None);
            }
            what.as_mut().poll(context).map(Some)
        })
        .await
    }

    /// Takes a new epoch, if this process still leads: what an earlier connection may still be about to commit is refused from now on,
    /// and what it is committing at this moment is waited for.
    pub(super) async fn lease_advance(&self, writer: &mut Writer) -> Result<(), StoreError> {
        let Some(holder) = self.shared.fence.holder.get() else { return Ok(()) };
        // Of whatever epoch it is: the answer to an earlier advance may have been lost.
        writer.epoch = 0;
        let mut transaction = writer.begin().await?;
        db::query(include_str!("sql/lease_lock.postgres.sql")).execute(&mut *transaction).await?;
        let epoch = db::query_scalar(include_str!("sql/lease_advance.postgres.sql"))
            .bind(holder)
            .fetch_optional(&mut *transaction)
            .await?;
        let epoch: i64 = epoch.ok_or(StoreError::Fenced)?;
        transaction.commit().await?;
        self.shared.fence.epoch.store(epoch, Ordering::SeqCst);
        writer.epoch = epoch;
        Ok(())
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
