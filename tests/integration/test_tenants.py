"""Two tenants on the same servers: a prefix and a schema keep them apart in everything."""

import pytest

from builders import usage
from fixtures_stack import StackMaker
from integration import shop
from integration.running import connected
from integration.traffic import Traffic, check_books, customers_everywhere
from oracle import Oracle
from pipeline.core.calendar import SECOND
from pipeline.stores.clock import wall_clock

pytestmark = pytest.mark.servers


def test_the_same_customers_keys_and_numbers_of_two_tenants(make_stack: StackMaker) -> None:
    stacks = [make_stack(), make_stack()]
    start = (wall_clock() // SECOND - 30) * SECOND
    end = start + 20 * SECOND
    customers = customers_everywhere(4)
    sold = []
    for number, stack in enumerate(stacks, 1):
        stack.start()
        stack.apply(shop.meters())
        sold.append(Traffic(stack, Oracle(shop.METERS)))
        for name in customers:
            events = [
                usage(name, str(number), meter="gigabytes", time=start + n, id=str(n))
                for n in range(50)
            ]
            sold[-1].keyed(*events, *events[:5])
            sold[-1].sequenced(0, *events[:number], producer=name)
        sold[-1].flush()
    for stack in stacks:
        stack.await_booked()
        stack.apply(shop.catalog(customers, start, end, "PT20S"))

    for stack, traffic in zip(stacks, sold, strict=True):
        documents = stack.await_documents(len(customers))
        assert [d.sealed.number for d in documents] == [f"S-{n:06d}" for n in range(1, 5)]
        assert stack.invoiced() == shop.bills(traffic.oracle, customers, start, end, cycle_s=20)
        check_books(stack, traffic.oracle)
        assert stack.close_the_books()["duplicate"] == 20
    one, other = stacks
    assert one.invoiced() != other.invoiced()


def test_every_key_in_redis_bears_its_tenant(make_stack: StackMaker) -> None:
    stack = make_stack()
    with connected(stack.around) as client:
        before = set(client.scan_iter(count=1000))
        stack.start()
        stack.apply(shop.meters())
        traffic = Traffic(stack, Oracle(shop.METERS))
        traffic.keyed(usage("acme", meter="seats", time=wall_clock(), id="1"))
        traffic.flush()
        stack.await_drained()
        made = set(client.scan_iter(count=1000)) - before

    assert made
    assert all(key.startswith(stack.around.stack.prefix.encode()) for key in made)
    assert stack.close_the_books()["pending"] == 1
