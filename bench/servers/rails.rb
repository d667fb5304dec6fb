# frozen_string_literal: true

# Rails with its cookie store, on Puma, on a port of its own of 127.0.0.1.
#
#     ruby rails.rb   writes {"port":…} in one line when it answers, and ends with standard input
#
# Where Rails is not installed it writes {"missing":"…"}.

require 'json'

ENV['RAILS_ENV'] = 'production'

begin
  require 'logger' # which Active Support of some versions forgets
  require 'action_controller/railtie'
  require 'puma'
  require 'puma/server'
rescue LoadError => error
  puts JSON.generate(missing: error.message.lines.first.strip)
  exit
end

FIRST_VISIT = 1_000_000

# An application for an API, with the middleware of the guide on those that adds sessions.
class Bench < Rails::Application
  config.load_defaults Rails.version.to_f
  config.eager_load = true
  config.cache_classes = true if Rails.version.to_f < 7.1 # then it is enable_reloading, which is off in production
  config.api_only = true
  config.logger = Logger.new(nil)
  config.log_level = :fatal
  config.secret_key_base = 'the secret of the benchmark, which everybody may know, and of 64 characters'
  config.public_file_server.enabled = false
  config.action_dispatch.default_headers = {}
  config.session_store :cookie_store, key: '_app_session', same_site: :lax
  config.middleware.use ActionDispatch::Cookies
  config.middleware.use config.session_store, config.session_options
  # what a session does not need
  [
    ActionDispatch::RequestId, ActionDispatch::RemoteIp, ActionDispatch::DebugExceptions, ActionDispatch::Callbacks,
    ActionDispatch::HostAuthorization, Rails::Rack::Logger, Rack::Sendfile, Rack::Runtime, Rack::Head,
    Rack::ConditionalGet, Rack::ETag
  ].each { |middleware| config.middleware.delete middleware }
  routes.append do
    get '/untouched', to: 'pages#untouched'
    get '/read', to: 'pages#read'
    get '/written', to: 'pages#written'
    get '/sign-in/:id', to: 'pages#sign_in'
  end
end

class PagesController < ActionController::API
  def untouched
    render plain: page
  end

  def read
    render plain: page(session[:userId], session[:visits])
  end

  def written
    session[:visits] = (session[:visits] || FIRST_VISIT) + 1
    render plain: page(session[:userId], session[:visits])
  end

  def sign_in
    session[:userId] = params[:id].to_i
    session[:name] = "Visitor #{params[:id]}"
    session[:visits] = FIRST_VISIT
    render plain: "signed in\n"
  end

  private

  def page(user_id = nil, visits = nil)
    "visitor #{user_id || 10_000}, visit #{visits || FIRST_VISIT}\n"
  end
end

Bench.initialize!

# More than the connections of the load: with fewer Puma closes one of them every ten requests, to let others in. They
# take turns at the one lock of the interpreter, and cost no more than one thread does.
threads = { min_threads: 64, max_threads: 64 }
# until Puma 6 the second is where it writes
server = Puma::Server.new(Bench, Puma::Events.respond_to?(:stdio) ? Puma::Events.stdio : nil, threads)
socket = server.add_tcp_listener('127.0.0.1', 0)
server.run
$stdout.puts JSON.generate(port: socket.addr[1])
$stdout.flush
$stdin.read
exit!
