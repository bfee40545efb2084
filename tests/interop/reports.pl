# Mail::DeliveryStatus::BounceParser: perl reports.pl FILE...; file, address, action and status of each recipient, by tabs.
use strict;
use warnings;
use Mail::DeliveryStatus::BounceParser;

binmode STDOUT, ':utf8';
for my $file (@ARGV) {
    open my $in, '<:raw', $file or die "$file: $!";
    my $content = do { local $/; <$in> };
    $content =~ s/\r\n/\n/g;
    my $bounce = Mail::DeliveryStatus::BounceParser->new($content, { report_non_bounces => 1 });
    for my $report ($bounce->reports) {
        my @told = map { my $value = $report->get($_) // ''; $value =~ s/\s+\z//; $value } qw(email action status);
        print join("\t", $file, @told), "\n";
    }
}
