//! What is limited, altogether and for each of those who share it: connections, uploads, streams.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

/// So much of something that there is, and so much that one may have of it.
#[derive(Debug)]
pub struct Shares<K> {
    most: usize,
    most_of_one: usize,
    taken: Arc<Mutex<Taken<K>>>,
}

#[derive(Debug)]
struct Taken<K> {
    all: usize,
    of: HashMap<K, usize>,
}

/// Why nothing more is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// Who asks has as much as one may have.
    One,
    /// Others have the rest.
    All,
}

/// What one has; given back when it is dropped.
#[derive(Debug)]
pub struct Share<K: Hash + Eq> {
    who: K,
    amount: usize,
    most: usize,
    most_of_one: usize,
    taken: Arc<Mutex<Taken<K>>>,
}

impl<K: Hash + Eq + Clone> Shares<K> {
    pub fn new(most: usize, most_of_one: usize) -> Self {
        let taken = Taken { all: 0, of: HashMap::new() };
        Self { most, most_of_one, taken: Arc::new(Mutex::new(taken)) }
    }

    /// Gives `amount` to `who`.
    ///
    /// # Errors
    /// If that were more than there is, or than one may have.
    pub fn take(&self, who: &K, amount: usize) -> Result<Share<K>, Full> {
        let mut share = self.nothing(who.clone());
        share.add(amount)?;
        Ok(share)
    }

    /// What `who` has before anything is taken.
    pub fn nothing(&self, who: K) -> Share<K> {
        let (most, most_of_one) = (self.most, self.most_of_one);
        Share { who, amount: 0, most, most_of_one, taken: Arc::clone(&self.taken) }
    }
}

impl<K: Hash + Eq + Clone> Share<K> {
    /// Takes `amount` more.
    ///
    /// # Errors
    /// If that were more than there is, or than one may have; what was taken before stays.
    pub fn add(&mut self, amount: usize) -> Result<(), Full> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.of.get(&self.who).copied().unwrap_or(0);
        if own.saturating_add(amount) > self.most_of_one {
            return Err(Full::One);
        }
        if taken.all.saturating_add(amount) > self.most {
            return Err(Full::All);
        }
        taken.all += amount;
        taken.of.insert(self.who.clone(), own + amount);
        self.amount += amount;
        Ok(())
    }
}

impl<K: Hash + Eq> Drop for Share<K> {
    fn drop(&mut self) {
        if self.amount == 0 {
            return;
        }
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= self.amount;
        if let Some(own) = taken.of.get_mut(&self.who) {
            *own -= self.amount;
            // Nobody is remembered who has nothing.
            if *own == 0 {
                taken.of.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_can_not_have_it_all_and_what_is_dropped_is_given_again() {
        let shares = Shares::new(5, 3);
        let mut ann = shares.take(&"ann", 2).unwrap();
        assert_eq!(ann.add(2), Err(Full::One));
        assert_eq!(ann.add(1), Ok(()));
        assert_eq!(shares.take(&"ann", 1).err(), Some(Full::One));
        let bob = shares.take(&"bob", 2).unwrap();
        assert_eq!(shares.take(&"eve", 1).err(), Some(Full::All));
        drop(ann);
        assert!(shares.take(&"eve", 3).is_ok());
        drop(bob);
        assert!(shares.taken.lock().unwrap().of.is_empty());
        assert_eq!(shares.take(&"ann", usize::MAX).err(), Some(Full::One));
    }
}
