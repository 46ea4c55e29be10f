//! Where a far end says that it is, whatever the length: requests of ours go there.

use crate::by_hand::{self, A, B, Hand, described, empty, header, world_by_hand};

/// A URI of this length at this address.
fn uri(address: &str, length: usize) -> String {
    let start = format!("sip:+4930123456789;npdi@{address};transport=udp;ob=");
    let rest = length - start.len();
    start + &"0123456789abcdef".repeat(40)[..rest]
}

fn request_uri(text: &str) -> &str {
    text.split(' ').nth(1).unwrap()
}

/// A call whose callee and caller say such URIs in their first messages.
#[test]
fn a_bye_goes_where_the_first_contact_says() {
    for length in [80, 300, 600] {
        let (mut world, log) = world_by_hand(1);
        let mut a = Hand::caller("long");
        let (of_a, of_b) = (uri(A, length), uri(B, length));
        a.contact = format!("<{of_a}>");
        let invite = by_hand::ask(&mut world, &log, &a, "0");
        let mut b = Hand::callee(&invite, "b");
        b.contact = format!("<{of_b}>");
        let answer = described("10.1.0.2", 5_000, 1, "0");
        by_hand::send(&mut world, B, &b.reply(&invite, "200 OK", "", &answer));
        assert_eq!(request_uri(&log.last(B, "ACK", "")), of_b, "{length}");
        header(&log.last(A, "SIP/2.0 200", ""), "To").clone_into(&mut a.to);
        by_hand::send(&mut world, A, &a.request("ACK", 1, "", &empty()));
        by_hand::send(&mut world, A, &a.request("BYE", 2, "", &empty()));
        assert_eq!(request_uri(&log.last(B, "BYE", "")), of_b, "{length}");
    }
}

/// And one that moves is followed.
#[test]
fn a_bye_goes_where_the_last_contact_says() {
    for length in [80, 300, 600] {
        for method in ["INVITE", "UPDATE"] {
            let (mut world, log) = world_by_hand(2);
            let by_hand::Call { mut a, b, .. } =
                by_hand::call(&mut world, &log, "moved", ("0", "0"));
            let moved = uri(A, length);
            a.contact = format!("<{moved}>");
            let offer = described("10.1.0.1", 4_000, 2, "0");
            by_hand::send(&mut world, A, &a.request(method, 2, "", &offer));
            log.last(A, "SIP/2.0 200", &format!("2 {method}"));
            if method == "INVITE" {
                by_hand::send(&mut world, A, &a.request("ACK", 2, "", &empty()));
            }
            by_hand::send(&mut world, B, &b.request("BYE", 9, "", &empty()));
            assert_eq!(request_uri(&log.last(A, "BYE", "")), moved, "{method} {length}");
        }
    }
}
