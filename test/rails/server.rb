# frozen_string_literal: true

# Rails applications, each on a port of its own of 127.0.0.1.
#
#     ruby server.rb '{"name":{…settings…}}'   writes {"ports":{"name":…}} in one line when all of them answer,
#                                              and ends with standard input
#     ruby server.rb --version                 says what Rails there is, and ends
#
# Where Rails is not installed it writes {"missing":"…"}.

require 'json'

begin
  require 'logger' # which Active Support of some versions forgets
  require 'action_controller'
  require 'action_view'
  require 'puma'
  require 'puma/server'
  raise LoadError, "Rails #{ActionPack.version} is older than 6.1" if ActionPack.version < Gem::Version.new('6.1')
rescue LoadError => error
  puts JSON.generate(missing: error.message.lines.first.strip)
  exit 1
end

if ARGV.first == '--version'
  puts "Rails #{ActionPack.version}, Rack #{Rack.release}, Puma #{Puma::Const::VERSION}, Ruby #{RUBY_VERSION}"
  exit
end

require_relative 'application'

ports = JSON.parse(ARGV.first).transform_values do |settings|
  server = Puma::Server.new(rails_application(settings))
  socket = server.add_tcp_listener('127.0.0.1', 0)
  server.run
  socket.addr[1]
end

$stdout.puts JSON.generate(ports: ports)
$stdout.flush
$stdin.read
exit!
