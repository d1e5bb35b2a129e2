-- What examples/postgres.py needs. The first table is the whole trick; the second is the shop's own.

create table if not exists deliveries (
    id text primary key,  -- delivery.id: the same on every call of an order, replays included
    at timestamptz not null default now()
);

create table if not exists charges (
    order_id text not null,
    customer_id text not null,
    amount numeric(12, 2) not null
);
