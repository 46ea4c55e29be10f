//! tandem-controlplane: boot, runtime, link to the shards
