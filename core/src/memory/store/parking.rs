//! The parking table with its index by id.

use std::collections::BTreeMap;

use crate::error::{Class, Error, ErrorKind};
use crate::event::PayloadHash;
use crate::store::{DeadQuery, Parked, ParkedId, ReleaseAnswer, Scope};
use crate::text::Text;

/// A page of dead letters is no longer than this.
const PAGE_MAX: usize = 1000;

/// Parked rows by place, in the order of parking, and by id.
#[derive(Default)]
pub(super) struct Parking {
    rows: BTreeMap<ParkedId, Row>,
    order: BTreeMap<u64, ParkedId>,
    /// A conflict shares its id with another row, so that the serial number belongs to the key.
    ids: BTreeMap<(Scope, Text, u64), PayloadHash>,
    serial: u64,
}

/// A parked row with what the table adds.
#[derive(Clone)]
pub(super) struct Row {
    pub(super) parked: Parked,
    serial: u64,
    release_requested: bool,
}

impl Parking {
    pub(super) fn at(&self, id: &ParkedId) -> Option<&Parked> {
        self.rows.get(id).map(|row| &row.parked)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The payloads with which `id` is parked.
    pub(super) fn payloads<'a>(
        &'a self,
        scope: &Scope,
        id: &Text,
    ) -> impl Iterator<Item = PayloadHash> + use<'a> {
        let first = (scope.clone(), id.clone(), 0);
        let last = (scope.clone(), id.clone(), u64::MAX);
        self.ids.range(first..=last).map(|(_, payload)| *payload)
    }

    /// Appends a row; its place is free.
    pub(super) fn park(&mut self, parked: Parked) {
        self.serial += 1;
        self.restore(Row { parked, serial: self.serial, release_requested: false });
    }

    /// Puts a row back as it was.
    pub(super) fn restore(&mut self, row: Row) {
        let at = row.parked.parked_id();
        self.ids.insert((at.scope.clone(), row.parked.id.clone(), row.serial), row.parked.payload);
        self.order.insert(row.serial, at.clone());
        self.rows.insert(at, row);
    }

    /// Takes a row out: the arbiter between two runs of it (rule P2).
    pub(super) fn take(&mut self, id: &ParkedId) -> Option<Row> {
        let row = self.rows.remove(id)?;
        self.order.remove(&row.serial);
        self.ids.remove(&(id.scope.clone(), row.parked.id.clone(), row.serial));
        Some(row)
    }

    /// Rows that an operator asked to run (rule P3), by the order of parking.
    pub(super) fn requested(&self) -> impl Iterator<Item = &Parked> {
        let rows = self.order.values().filter_map(|at| self.rows.get(at));
        rows.filter(|row| row.release_requested).map(|row| &row.parked)
    }

    pub(super) fn request_release(&mut self, id: &ParkedId) -> ReleaseAnswer {
        match self.rows.get_mut(id) {
            Some(row) => {
                row.release_requested = true;
                ReleaseAnswer::Requested
            }
            None => ReleaseAnswer::Missing,
        }
    }

    pub(super) fn list(&self, query: &DeadQuery) -> Result<Vec<Parked>, Error> {
        let after = match &query.after {
            Some(id) => self.rows.get(id).ok_or_else(page_is_gone)?.serial,
            None => 0,
        };
        let rows = self.order.range(after + 1..).filter_map(|(_, at)| self.rows.get(at));
        let of_subscription = rows.filter(|row| row.parked.scope.subscription == query.subscription);
        let page = of_subscription.take(query.limit.min(PAGE_MAX));
        Ok(page.map(|row| row.parked.clone()).collect())
    }
}

fn page_is_gone() -> Error {
    let what = "the dead letter to list from is gone; list from the beginning";
    Error::new(ErrorKind::Store, what).with_class(Class::Permanent)
}
