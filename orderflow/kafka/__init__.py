"""Kafka as every part uses it: clients, topics, reading, transactions.

To read: reachable (whether Kafka answers, and why not), topics (whether they are there, and what they are
like), topic_identity (whether it is still the same one), reader (a topic read without a group), positions
and places (where in a topic, and the offsets that this comes to), log_ends (where a topic ends, whether or
not it is read), group_view (what a group has done of a topic) with topics_view and questions, standing (how
a group sees a member), other_groups (how far whoever reads a topic has got), answers (what may be refused
in parts), transactions (all of it or nothing, one sender at a time), sizes (of batches and records, as
topics take them), client_properties (what users may set), ledger_pages (lists of what waits),
command_reader (what operators ask of it), plain_sending (a few records, outside of transactions), delivery
(waiting until what was sent is there), refusals (what a failed connection says, and asking again while it
passes), controller and leaders (answers that only one node gives, while that one is away),
open_transactions (those that were left open), trace_context (OpenTelemetry, where it is used).
"""
