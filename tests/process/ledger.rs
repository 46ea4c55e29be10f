//! Money: the ledger, the CDRs and whoever talked agree.

use tests::bed::{Setup, eventually};

use std::time::Duration;

use crate::controlplane_killed::expect_close;
use crate::load::{Books, Load, by_webhook, exact_us};

#[test]
fn sum_of_ledger_is_sum_of_cdrs_is_what_was_talked() {
    let mut bed = Setup { shards: 3, ..Setup::default() }.start();
    let (route, web) = by_webhook(&mut bed);
    let report = Load::start(&bed, &route, 40, 20, 5).finish();
    report.expect_whole(40);
    let books = Books::of(&bed, 80);
    for (category, direction, role) in
        [("sip-ingress", "inbound", "caller"), ("sip-egress", "outbound", "callee")]
    {
        let ledger = books.ledger_us(category);
        assert_eq!(
            ledger,
            books.cdr_us(direction),
            "{category}: ledger and CDRs to the microsecond"
        );
        expect_close(category, ledger, report.talk_seconds(role), 40);
    }
    // Usage/Records is the same sum again, by day and category.
    let records = eventually("usage records of all legs", Duration::from_secs(15), || {
        let records = bed.rest.list("/Usage/Records.json", "usage_records", "");
        let calls = records.iter().find(|record| record["category"] == "calls")?;
        (calls["count"] == "80").then(|| records.clone())
    });
    for category in ["sip-ingress", "sip-egress", "media-relay"] {
        let record = records.iter().find(|record| record["category"] == category);
        let record = record.expect("every category");
        assert_eq!(exact_us(&record["usage_exact"]), books.ledger_us(category), "{record}");
    }
    // Every packet that a far end sent and we relayed is counted once: as many as the far ends
    // heard, and those that were under way when the call ended.
    let counts = books.rows.iter().filter(|row| row["category"] == "media-relay");
    let relayed: u64 = counts
        .filter_map(|row| row["count"].as_str())
        .filter_map(|it| it.parse::<u64>().ok())
        .sum();
    let heard = report.received();
    println!("relayed {relayed}, heard {heard}");
    assert!(relayed >= heard && relayed <= heard + heard / 50, "{relayed} relayed, {heard} heard");
    let completed = web.statuses("/status").iter().filter(|it| *it == "completed").count();
    assert_eq!(completed, 40, "each call's end is told once");
}
