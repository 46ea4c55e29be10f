//! The published table of the world: whom applications answer for, and whose calls, from what is
//! configured, as the daemon publishes it.

use model::Directory;
use model::port::Entity;
use wire::table::{Admission, Lock, Network, Place, PlaceKind, StaticRoute, Table};

use crate::plane::Plane;

/// Shows it to every shard; `key` is of this life.
pub(crate) fn publish(
    plane: &Plane,
    (entities, routes): (&[Entity], &[StaticRoute]),
    key: [u64; 2],
) {
    let mut directory = Directory::default();
    entities.iter().cloned().for_each(|entity| directory.put(entity));
    let (admission, watch) = (Some(admission(&directory, entities, key)), directory.watch(key));
    let table = Table { routes: routes.to_vec(), admission, watch };
    for regions in &plane.regions {
        let Some(area) = regions.controlplane().table() else { continue };
        wire::table::publish(area, &table).unwrap_or_else(|error| panic!("a table: {error}"));
    }
}

fn admission(directory: &Directory, entities: &[Entity], key: [u64; 2]) -> Admission {
    let mut admission = Admission { key, ..Admission::default() };
    for entity in entities {
        let (hash, networks): (u64, Vec<Network>) = match entity {
            Entity::SipDomain(it) => {
                let hash = admission.hash(PlaceKind::Domain, it.domain_name.as_bytes());
                (hash, directory.domain_networks(it))
            }
            Entity::Trunk(it) if !it.domain_name.is_empty() => {
                let hash = admission.hash(PlaceKind::Domain, it.domain_name.as_bytes());
                (hash, directory.trunk_networks(it))
            }
            Entity::PhoneNumber(number) => {
                let digits = number.number.trim_start_matches('+').as_bytes();
                let sources = entities.iter().find_map(|it| match it {
                    Entity::Account(account) if account.sid == number.account => {
                        Some(account.sources.clone())
                    }
                    _ => None,
                });
                (admission.hash(PlaceKind::Number, digits), sources.unwrap_or_default())
            }
            _ => continue,
        };
        let sources = u32::try_from(admission.sources.len()).unwrap_or(u32::MAX);
        admission.sources.push(networks);
        admission.places.push(Place { hash, sources });
    }
    admission.places.sort_unstable_by_key(|place| place.hash);
    let locks = entities.iter().filter_map(|entity| {
        if let Entity::Trunk(it) = entity {
            let hash = admission.hash(PlaceKind::Domain, it.domain_name.as_bytes());
            let lock = Lock { hash, calls: true, registrations: false };
            return (!it.credentials.is_empty()).then_some(lock);
        }
        let Entity::DomainAuth(auth) = entity else { return None };
        let domain = entities.iter().find_map(|it| match it {
            Entity::SipDomain(domain) if domain.sid == auth.domain => Some(domain),
            _ => None,
        })?;
        let hash = admission.hash(PlaceKind::Domain, domain.domain_name.as_bytes());
        let registrations = auth.registers && !auth.registrations.is_empty();
        Some(Lock { hash, calls: !auth.calls.is_empty(), registrations })
    });
    let mut locks: Vec<Lock> = locks.collect();
    locks.sort_unstable_by_key(|lock| lock.hash);
    admission.locks = locks;
    admission
}
