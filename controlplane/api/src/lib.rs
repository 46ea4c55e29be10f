//! HTTP in and out: REST resources, webhooks
