//! Which routes fit a number: found by what their prefixes hash to, one look-up for each length
//! that there is, so that a call costs the same among ten routes and ten thousand.

use arrayvec::ArrayVec;
use base::HashKey;
use sip::Uri;
use wire::table::{StaticRoute, Table};

use super::host_text;
use super::number::National;

/// Longer prefixes are found by so many bytes of them.
const LENGTH_MAX: usize = 63;
/// Routes of one rank among which the weights decide; the rest of them wait for a failure.
const EQUALS_MAX: usize = 64;

/// Countries for whose routes a call's number is written once.
const COUNTRIES_KNOWN: usize = 4;

/// Made with the table, where no packet waits.
#[derive(Debug, Default)]
pub(crate) struct Index {
    key: [u64; 2],
    /// Hash of domain, country and prefix, and the route's place; sorted by hash, then by rank.
    entries: Vec<(u64, u32)>,
    /// Bit n: there is a prefix of n bytes.
    lengths: u64,
    /// Some route names a domain.
    has_domains: bool,
    countries: Vec<String>,
    /// Hash of a trunk's name, and the place of the first route of that name; sorted by hash.
    names: Vec<(u64, u32)>,
}

/// What decides between routes that fit equally well: the least first.
type Rank = (u64, u64);

/// A number that is looked for, in its notations: without escapes, as a number, and without
/// separators where they are not the same.
struct Notations([([u8; LENGTH_MAX + 1], usize); 3], usize);

impl Notations {
    fn of(uri: &Uri<'_>, country: &str) -> Self {
        let mut this = Self([([0; LENGTH_MAX + 1], 0); 3], 0);
        let mut value = [0; 256];
        let user = match uri.is_emergency() {
            true => lower(uri.raw, &mut value),
            false => sip::uri::unescape(uri.user_number(), &mut value).unwrap_or_default(),
        };
        let number = sip::Number::from_uri(uri);
        if let Some(number) = &number {
            this.push(National::of(number.bytes(), country.as_bytes()).bytes());
        }
        if country.is_empty() || number.is_none() {
            this.push(user);
        }
        if number.is_some()
            && let Some(plain) = sip::Number::parse(user)
        {
            this.push(National::of(plain.bytes(), country.as_bytes()).bytes());
        }
        this
    }

    fn push(&mut self, text: &[u8]) {
        let mut new = ([0; LENGTH_MAX + 1], text.len().min(LENGTH_MAX));
        new.0[..new.1].copy_from_slice(&text[..new.1]);
        if !self.0[..self.1].contains(&new) {
            self.0[self.1] = new;
            self.1 += 1;
        }
    }

    fn all(&self) -> impl Iterator<Item = &[u8]> {
        self.0[..self.1].iter().map(|(text, len)| &text[..*len])
    }
}

/// The best of the routes that fit equally well.
struct Best {
    rank: Option<(bool, Rank)>,
    equals: ArrayVec<(u32, u16), EQUALS_MAX>,
}

impl Best {
    fn offer(&mut self, rank: (bool, Rank), place: u32, weight: u16) {
        if self.rank.is_some_and(|best| best < rank) {
            return;
        }
        if self.rank != Some(rank) {
            self.rank = Some(rank);
            self.equals.clear();
        }
        let _ = self.equals.try_push((place, weight));
    }

    /// By weight; of those without any the first. `random`: below the number that it is given.
    fn pick(&self, random: impl FnOnce(u64) -> u64) -> Option<u32> {
        let sum: u64 = self.equals.iter().map(|(_, weight)| u64::from(*weight)).sum();
        if sum == 0 {
            return self.equals.iter().map(|(place, _)| *place).min();
        }
        let mut left = random(sum);
        for (place, weight) in &self.equals {
            match left.checked_sub(u64::from(*weight)) {
                Some(rest) => left = rest,
                None => return Some(*place),
            }
        }
        None
    }
}

/// What a route must be like to be chosen beside its number, and whether all its targets are out.
pub(crate) trait Wanted {
    fn fits(&self, place: u32, route: &StaticRoute) -> bool;
    fn is_out(&self, place: u32, route: &StaticRoute) -> bool;
}

impl Index {
    pub(crate) fn new(table: &Table, key: &HashKey) -> Self {
        let mut this = Self { key: key.0, ..Self::default() };
        for (place, route) in (0..).zip(&table.routes) {
            this.has_domains |= !route.domain.is_empty();
            let country = &route.policy.country;
            if !this.countries.contains(country) {
                this.countries.push(country.clone());
            }
            let mut prefix = [0; 256];
            let prefix = sip::uri::unescape(route.prefix.as_bytes(), &mut prefix);
            let prefix = prefix.unwrap_or(route.prefix.as_bytes());
            let plain: Vec<u8> =
                prefix.iter().copied().filter(|byte| !is_separator(*byte)).collect();
            this.insert(place, route, prefix);
            if plain != prefix {
                this.insert(place, route, &plain);
            }
        }
        let rank = |place: u32| rank(&table.routes[place as usize]);
        this.entries.sort_by_key(|(hash, place)| (*hash, rank(*place), *place));
        let names = table.routes.iter().map(|route| route.policy.name.as_bytes());
        let names = (0..).zip(names).filter(|(_, name)| !name.is_empty());
        this.names = names.map(|(place, name)| (key.hash(&[name]), place)).collect();
        this.names.sort_unstable();
        this
    }

    /// The place of the first route of this name.
    pub(crate) fn named(&self, name: &str) -> Option<u32> {
        let hash = HashKey(self.key).hash(&[name.as_bytes()]);
        let at = self.names.partition_point(|entry| entry.0 < hash);
        self.names.get(at).filter(|entry| entry.0 == hash).map(|entry| entry.1)
    }

    fn insert(&mut self, place: u32, route: &StaticRoute, prefix: &[u8]) {
        let prefix = &prefix[..prefix.len().min(LENGTH_MAX)];
        self.lengths |= 1 << prefix.len();
        let hash = self.hash(route.domain.as_bytes(), &route.policy.country, prefix);
        self.entries.push((hash, place));
    }

    fn hash(&self, domain: &[u8], country: &str, prefix: &[u8]) -> u64 {
        HashKey(self.key).hash(&[domain, country.as_bytes(), prefix])
    }

    fn bucket(&self, hash: u64) -> &[(u64, u32)] {
        let from = self.entries.partition_point(|entry| entry.0 < hash);
        let len = self.entries[from..].iter().take_while(|entry| entry.0 == hash).count();
        &self.entries[from..from + len]
    }

    /// The route that comes first: named domains before any, longer prefixes before shorter, those
    /// whose targets are not all out before the others, then by rank and weight.
    pub(crate) fn choose(
        &self,
        routes: &[StaticRoute],
        uri: &Uri<'_>,
        wanted: &impl Wanted,
        mut random: impl FnMut(u64) -> u64,
    ) -> Option<u32> {
        let mut host = [0; 255];
        let mut domain: &[u8] = b"";
        if self.has_domains {
            let text = host_text(uri.raw);
            let lower = host.get_mut(..text.len()).unwrap_or_default();
            lower.copy_from_slice(&text[..lower.len()]);
            lower.make_ascii_lowercase();
            domain = lower;
        }
        let known = self.countries.iter().take(COUNTRIES_KNOWN);
        let known: ArrayVec<_, COUNTRIES_KNOWN> =
            known.map(|country| Notations::of(uri, country)).collect();
        let mut last = None;
        let domains = [domain, b""].into_iter().skip(usize::from(domain.is_empty()));
        for domain in domains {
            for length in (0..=LENGTH_MAX).rev().filter(|length| self.lengths & 1 << length != 0) {
                let best = self.best(routes, (uri, &known), (domain, length), wanted);
                let Some((is_out, _)) = best.rank else { continue };
                let picked = best.pick(&mut random);
                if !is_out {
                    return picked;
                }
                last = last.or(picked);
            }
        }
        last
    }

    fn best(
        &self,
        routes: &[StaticRoute],
        (uri, known): (&Uri<'_>, &[Notations]),
        (domain, length): (&[u8], usize),
        wanted: &impl Wanted,
    ) -> Best {
        let mut best = Best { rank: None, equals: ArrayVec::new() };
        for (at, country) in self.countries.iter().enumerate() {
            let made;
            let notations = match known.get(at) {
                Some(known) => known,
                None => {
                    made = Notations::of(uri, country);
                    &made
                }
            };
            for text in notations.all().filter(|text| text.len() >= length) {
                let hash = self.hash(domain, country, &text[..length]);
                for (_, place) in self.bucket(hash) {
                    let Some(route) = routes.get(*place as usize) else { continue };
                    // Those of one hash stand in the order of their ranks.
                    let rank = rank(route);
                    let is_found = |(is_out, known): (bool, Rank)| {
                        !is_out && (known < rank || known == rank && best.equals.is_full())
                    };
                    if best.rank.is_some_and(is_found) {
                        break;
                    }
                    if self.is_it(route, uri, &text[..length]) && wanted.fits(*place, route) {
                        let is_out = wanted.is_out(*place, route);
                        best.offer((is_out, rank), *place, route.policy.weight);
                    }
                }
            }
        }
        best
    }

    /// The hash may lie about a prefix with separators, or one that was cut.
    fn is_it(&self, route: &StaticRoute, uri: &Uri<'_>, found: &[u8]) -> bool {
        let prefix = route.prefix.as_bytes();
        // A country's notation of the number is none that the URI has.
        prefix == found
            || !route.policy.country.is_empty()
            || sip::number::user_starts_with(uri, prefix)
    }
}

/// The name of a service, as prefixes have it.
fn lower<'o>(name: &[u8], out: &'o mut [u8]) -> &'o [u8] {
    let out = &mut out[..name.len().min(LENGTH_MAX)];
    out.copy_from_slice(&name[..out.len()]);
    out.make_ascii_lowercase();
    out
}

fn rank(route: &StaticRoute) -> Rank {
    let policy = &route.policy;
    let (cost, priority) = (u64::from(policy.cost), u64::from(policy.priority));
    if policy.by_cost { (cost, priority) } else { (priority, 0) }
}

/// Visual separators, as [`sip::Number`] leaves them out.
const fn is_separator(byte: u8) -> bool {
    matches!(byte, b'-' | b'.' | b'(' | b')' | b' ')
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;
    use wire::policy::RoutePolicy;

    use super::*;

    /// Counts whom it is asked about.
    struct Counting(Cell<usize>, Option<u32>);

    impl Wanted for Counting {
        fn fits(&self, place: u32, _: &StaticRoute) -> bool {
            self.0.set(self.0.get() + 1);
            self.1.is_none_or(|only| only == place)
        }

        fn is_out(&self, _: u32, _: &StaticRoute) -> bool {
            false
        }
    }

    fn route(prefix: &str, weight: u16) -> StaticRoute {
        StaticRoute {
            account: 1,
            domain: String::new(),
            prefix: prefix.to_owned(),
            sources: Vec::new(),
            trusted: Vec::new(),
            targets: vec!["198.51.100.1:5060".parse().unwrap()],
            host: String::new(),
            strip: 0,
            prepend: String::new(),
            rate_max: 0,
            calls_max: 0,
            ring_s: 30,
            media: wire::table::MediaSources::default(),
            signalling: wire::table::SignallingSources::default(),
            tls_name: String::new(),
            login: String::new(),
            transfer: false,
            dtmf: wire::table::Digits::default(),
            policy: RoutePolicy { weight, ..RoutePolicy::default() },
            reliable: wire::table::ReliableRinging::default(),
            session_timer: true,
            early_media: wire::table::EarlyMedia::default(),
        }
    }

    fn table(routes: Vec<StaticRoute>) -> (Index, Table) {
        let table = Table { routes, ..Table::default() };
        (Index::new(&table, &HashKey([1, 2])), table)
    }

    /// The route, and how many were looked at.
    fn choose(
        (index, table): &(Index, Table),
        uri: &str,
        only: Option<u32>,
    ) -> (Option<u32>, usize) {
        let wanted = Counting(Cell::new(0), only);
        let uri = Uri::parse(uri.as_bytes()).unwrap();
        let chosen = index.choose(&table.routes, &uri, &wanted, |below| below / 2);
        (chosen, wanted.0.get())
    }

    #[test]
    fn a_call_looks_at_those_of_its_prefix_alone_among_ten_thousand() {
        let prefixes = (0..10_000).map(|n| route(&format!("+1{n:05}"), 0));
        let all = table(prefixes.chain([route("", 0)]).collect());
        assert_eq!(choose(&all, "sip:+1000427@h", None), (Some(42), 1));
        assert_eq!(choose(&all, "sip:+44@h", None), (Some(10_000), 1));
    }

    #[test]
    fn a_thousand_routes_of_one_prefix_are_looked_at_no_further_than_needed() {
        let all = table((0..1_000).map(|_| route("+1", 1)).collect());
        assert_eq!(choose(&all, "sip:+15@h", None), (Some(32), 64), "the first 64 share");
        assert_eq!(choose(&all, "sip:+15@h", Some(999)), (Some(999), 1_000), "its source decides");
    }

    #[test]
    fn weights_are_shares_and_zeros_come_last_as_written() {
        let mut best = Best { rank: None, equals: ArrayVec::new() };
        assert_eq!(best.pick(|_| 0), None);
        for (place, weight) in [(7, 0), (5, 3), (6, 1)] {
            best.offer((false, (0, 0)), place, weight);
        }
        let picked: Vec<_> = (0..4).map(|at| best.pick(|_| at).unwrap()).collect();
        assert_eq!(picked, [5, 5, 5, 6]);
        best.offer((false, (1, 0)), 1, 100);
        assert_eq!(best.equals.len(), 3, "a worse rank is no equal");
        best.offer((true, (0, 0)), 2, 100);
        assert_eq!(best.equals.len(), 3, "one that is out is none either");
        for (place, weight) in [(9, 0), (8, 0)] {
            let mut best = Best { rank: None, equals: ArrayVec::new() };
            best.offer((false, (0, 0)), place, weight);
            assert_eq!(best.pick(|_| 0), Some(place));
        }
    }

    #[test]
    fn a_prefix_is_found_in_whatever_notation() {
        let all = table(vec![route("%2B49-30", 0), route("b-", 0), route("+", 0)]);
        for (uri, place) in [
            ("sip:+4930555@h", Some(0)),
            ("sip:%2B49-(30)5@h", Some(0)),
            ("tel:+49-30-5", Some(0)),
            ("sip:30;phone-context=+49@h", Some(0)),
            ("sip:b-x@h", Some(1)),
            ("sip:bx@h", None),
            ("sip:+48@h", Some(2)),
        ] {
            assert_eq!(choose(&all, uri, None).0, place, "{uri}");
        }
    }
}
