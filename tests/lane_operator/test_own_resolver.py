"""What the operator's own pod asks of DNS, by its resolv.conf."""

from lane_operator.own_resolver import nameservers


def test_nameservers_are_networks_of_themselves() -> None:
    text = "search mail.svc.cluster.local\nnameserver 10.96.0.10\nnameserver fd00::a\noptions ndots:5\n"

    assert nameservers(text) == ("10.96.0.10/32", "fd00::a/128")


def test_what_is_no_address_or_the_pods_own_is_left_out_and_three_are_read() -> None:
    text = "nameserver\nnameserver dns.example\n#nameserver 192.0.2.9\nnameserver 127.0.0.53\nnameserver fe80::1%eth0\n"
    many = "".join(f"nameserver 192.0.2.{n}\n" for n in range(1, 6))

    assert nameservers(text) == ("fe80::1/128",)
    assert nameservers(many) == ("192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32")
