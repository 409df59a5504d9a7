//! Usage as billing systems read it: columns shaped like FOCUS 1.2, as JSON, NDJSON, CSV or CloudEvents.
//!
//! Numbers of money and quantities are decimal strings, so that no reader makes floats of them. Columns of our own begin
//! with `x_`.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::time;
use crate::service::reconcile::Report;
use crate::service::usage::{Priced, decimal};
use crate::store::RULE_CEIL_SECOND;

/// One usage segment with what it adds to its run's cost.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(in crate::rest) struct Charge {
    /// Decimal.
    billed_cost: String,
    /// ISO 4217.
    billing_currency: String,
    /// Always `Usage`.
    charge_category: &'static str,
    /// By the host's clock when the segment was reported; its exact extent is `x_BeginMs` to `x_EndMs`.
    charge_period_start: String,
    /// See there.
    charge_period_end: String,
    /// Active milliseconds.
    consumed_quantity: String,
    /// Always `Milliseconds`.
    consumed_unit: &'static str,
    /// Seconds that the segment adds to the run's billed ones.
    pricing_quantity: String,
    /// Always `Seconds`.
    pricing_unit: &'static str,
    /// Price of a second, decimal.
    list_unit_price: String,
    region_id: String,
    /// The run.
    resource_id: String,
    /// Always `Run`.
    resource_type: &'static str,
    /// Always `Compute`.
    service_category: &'static str,
    /// Always `davit`.
    service_name: &'static str,
    /// The instance type.
    sku_id: String,
    /// The tenant.
    sub_account_id: String,
    /// The segment: the same in every export.
    #[serde(rename = "x_SegmentId")]
    segment_id: Uuid,
    #[serde(rename = "x_Attempt")]
    attempt: u32,
    /// From 0 within the attempt.
    #[serde(rename = "x_Sequence")]
    sequence: u32,
    /// Milliseconds since the container's start.
    #[serde(rename = "x_BeginMs")]
    begin_ms: u64,
    /// See there; where the next segment begins.
    #[serde(rename = "x_EndMs")]
    end_ms: u64,
    #[serde(rename = "x_Paused")]
    paused: bool,
    /// Millionths.
    #[serde(rename = "x_BilledMicros")]
    billed_micros: u64,
    /// The rule that rounded it.
    #[serde(rename = "x_RuleId")]
    rule_id: &'static str,
    #[serde(rename = "x_RunnerId")]
    runner_id: Option<Uuid>,
    /// The executor's id.
    #[serde(rename = "x_HostId")]
    host_id: Uuid,
}

impl Charge {
    pub(in crate::rest) fn new(priced: Priced, currency: &str) -> Self {
        let Priced {
            row,
            active_ms,
            billed_seconds,
            cost_micros,
        } = priced;
        let segment = row.segment;
        let length_ms = segment.end_ms.saturating_sub(segment.begin_ms);
        Self {
            billed_cost: decimal(cost_micros),
            billing_currency: currency.to_owned(),
            charge_category: "Usage",
            charge_period_start: time(row.at_ms.saturating_sub(length_ms)),
            charge_period_end: time(row.at_ms),
            consumed_quantity: active_ms.to_string(),
            consumed_unit: "Milliseconds",
            pricing_quantity: billed_seconds.to_string(),
            pricing_unit: "Seconds",
            list_unit_price: decimal(row.price_second_micros),
            region_id: row.region,
            resource_id: segment.key.run.to_string(),
            resource_type: "Run",
            service_category: "Compute",
            service_name: "davit",
            sku_id: row.instance_type,
            sub_account_id: row.tenant.as_str().to_owned(),
            segment_id: segment.id,
            attempt: segment.key.attempt.number(),
            sequence: segment.sequence,
            begin_ms: segment.begin_ms,
            end_ms: segment.end_ms,
            paused: segment.paused,
            billed_micros: cost_micros,
            rule_id: RULE_CEIL_SECOND,
            runner_id: row.runner,
            host_id: row.host,
        }
    }

    /// Names of the columns of CSV, in the order of [`Charge::line`].
    pub(in crate::rest) const HEADER: &'static str = "BilledCost,BillingCurrency,ChargeCategory,\
        ChargePeriodStart,ChargePeriodEnd,ConsumedQuantity,ConsumedUnit,PricingQuantity,PricingUnit,\
        ListUnitPrice,RegionId,ResourceId,ResourceType,ServiceCategory,ServiceName,SkuId,SubAccountId,\
        x_SegmentId,x_Attempt,x_Sequence,x_BeginMs,x_EndMs,x_Paused,x_BilledMicros,x_RuleId,x_RunnerId,x_HostId\r\n";

    /// The row as CSV (RFC 4180). No value needs quotes: slugs, names of tenants, ids, numbers and instants hold no comma,
    /// quote or line break.
    pub(in crate::rest) fn line(&self) -> String {
        let runner = self.runner_id.map(|id| id.to_string()).unwrap_or_default();
        let columns = [
            &self.billed_cost,
            &self.billing_currency,
            self.charge_category,
            &self.charge_period_start,
            &self.charge_period_end,
            &self.consumed_quantity,
            self.consumed_unit,
            &self.pricing_quantity,
            self.pricing_unit,
            &self.list_unit_price,
            &self.region_id,
            &self.resource_id,
            self.resource_type,
            self.service_category,
            self.service_name,
            &self.sku_id,
            &self.sub_account_id,
            &self.segment_id.to_string(),
            &self.attempt.to_string(),
            &self.sequence.to_string(),
            &self.begin_ms.to_string(),
            &self.end_ms.to_string(),
            &self.paused.to_string(),
            &self.billed_micros.to_string(),
            self.rule_id,
            &runner,
            &self.host_id.to_string(),
        ];
        columns.join(",") + "\r\n"
    }

    /// The row in the envelope of CloudEvents 1.0.
    pub(in crate::rest) fn event(self) -> CloudEvent {
        CloudEvent {
            specversion: "1.0",
            id: self.segment_id,
            source: "/davit/usage",
            event_type: "davit.usage.segment.v1",
            subject: self.resource_id.clone(),
            time: self.charge_period_end.clone(),
            datacontenttype: "application/json",
            data: self,
        }
    }
}

/// CloudEvents 1.0.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct CloudEvent {
    specversion: &'static str,
    /// The segment's.
    id: Uuid,
    source: &'static str,
    #[serde(rename = "type")]
    event_type: &'static str,
    /// The run.
    subject: String,
    time: String,
    datacontenttype: &'static str,
    data: Charge,
}

/// A page of the ledger.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct UsageReply {
    pub(in crate::rest) usage: Vec<Charge>,
    /// Where the next page begins, also when there is nothing there yet.
    pub(in crate::rest) next: String,
    /// Whether there may be more by now.
    pub(in crate::rest) more: bool,
}

/// Whether the books add up.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct ReconciliationReply {
    /// Whether everything does.
    good: bool,
    /// Whether the totals stood still long enough to be compared.
    settled: bool,
    segments: u64,
    runs: u64,
    /// How often the export was replayed.
    replays: u32,
    ledger_active_ms: u64,
    totals_active_ms: u64,
    /// Millionths by the export.
    export_micros: u64,
    /// Runs that started and ended within a millisecond: without a segment, at the least charge.
    runs_without_segments: u64,
    /// Millionths.
    least_charges_micros: u64,
    /// Millionths.
    totals_micros: u64,
    problems_count: u64,
    /// The first of them.
    problems: Vec<String>,
}

impl From<Report> for ReconciliationReply {
    fn from(report: Report) -> Self {
        Self {
            good: report.is_good(),
            settled: report.settled,
            segments: report.segments,
            runs: report.runs,
            replays: report.replays,
            ledger_active_ms: report.ledger_active_ms,
            totals_active_ms: report.totals.active_ms,
            export_micros: report.export_cost_micros,
            runs_without_segments: report.runs_without_segments,
            least_charges_micros: report.least_charges_micros,
            totals_micros: report.totals.cost_micros,
            problems_count: report.problems_count,
            problems: report.problems,
        }
    }
}
