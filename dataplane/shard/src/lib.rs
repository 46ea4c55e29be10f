//! The dataplane as one value: demux, legs, joins, media applications, guard, meter
