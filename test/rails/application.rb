# frozen_string_literal: true

require 'active_support/messages/rotation_configuration'

ActiveSupport::MessageEncryptor.use_authenticated_message_encryption = true

# A page for each thing that Rails does with sessions, cookies, the flash and tokens. They answer JSON.
class PagesController < ActionController::Base
  self.per_form_csrf_tokens = true
  self.forgery_protection_origin_check = true
  # from 7.0 on there is nothing else
  self.urlsafe_csrf_tokens = true if ActionPack.version < Gem::Version.new('7.0')
  protect_from_forgery with: :exception

  def nothing
    answer nil
  end

  # `created_at` is what luggage-rack keeps in the payload beside the data.
  def read
    id = session.id&.public_id
    data = session.to_hash
    answer({ id: id, data: data.except('session_id', '_created_at'), created_at: data['_created_at'] })
  end

  def write
    given.each { |key, value| session[key] = value }
    answer nil
  end

  # What Ruby has and JSON has not.
  def ruby
    session[:symbol] = :value
    session[:time] = Time.utc(2026, 3, 14, 15, 9, 26)
    session[:decimal] = BigDecimal('1.50')
    session[:range] = 1..3
    session[:nothing] = nil
    session[:keys] = { 1 => :one, nil => nil }
    answer nil
  end

  def remove
    answer session.delete(params[:key])
  end

  def count
    answer session[:count] = session.fetch(:count, 0) + 1
  end

  def reset
    reset_session
    answer nil
  end

  # The way in that the Rails guide on security gives.
  def sign_in
    reset_session
    session[:user_id] = given
    answer nil
  end

  def destroy
    request.session.destroy
    answer nil
  end

  # One that is not loaded would lose its data: the cookie store drops the cookie first.
  def renew
    session.to_hash
    request.session_options[:renew] = true
    answer nil
  end

  def say
    given.each { |key, value| flash[key] = value }
    answer nil
  end

  def say_now
    given.each { |key, value| flash.now[key] = value }
    answer flash.to_hash
  end

  def told
    answer flash.to_hash
  end

  def keep
    flash.keep(params[:key])
    answer flash.to_hash
  end

  def discard
    flash.discard(params[:key])
    answer flash.to_hash
  end

  # The page that Rails' own helpers make.
  def form
    render inline: <<~ERB
      <%= csrf_meta_tags %>
      <%= form_with(url: '/submit', local: true) {} %>
      <%= form_with(url: '/submit', method: :delete, local: true) {} %>
      <%= form_with(url: '/elsewhere', local: true) {} %>
    ERB
  end

  def submit
    answer "#{request.request_method} #{params[:name]}"
  end

  def set_cookie
    options = { httponly: true }
    options[:expires] = Time.now + params[:seconds].to_i if params[:seconds]
    jar[params[:name]] = options.merge(value: given)
    answer nil
  end

  def get_cookie
    answer jar[params[:name]]
  end

  def delete_cookie
    cookies.delete(params[:name])
    answer nil
  end

  private

  # `render json:` takes a string for JSON that is made already.
  def answer(value)
    render json: value.to_json
  end

  def given
    JSON.parse(params[:json])
  end

  # "permanent.signed" is cookies.permanent.signed.
  def jar
    params[:jar].split('.').inject(cookies) do |jar, kind|
      raise ArgumentError, kind unless %w[signed encrypted permanent].include?(kind)

      jar.public_send(kind)
    end
  end
end

# Key derivation by SHA256 for Rails 6.1, which knows SHA1 alone.
class Sha256KeyGenerator
  def initialize(secret, iterations:)
    @secret = secret
    @iterations = iterations
  end

  def generate_key(salt, size = 64)
    OpenSSL::KDF.pbkdf2_hmac(@secret, salt: salt, iterations: @iterations, length: size, hash: 'SHA256')
  end
end

def key_generator(secret, digest)
  if ActiveSupport.version >= Gem::Version.new('7.0')
    digest_class = OpenSSL::Digest.const_get(digest)
    ActiveSupport::KeyGenerator.new(secret, iterations: 1000, hash_digest_class: digest_class)
  elsif digest == 'SHA1'
    ActiveSupport::KeyGenerator.new(secret, iterations: 1000)
  else
    Sha256KeyGenerator.new(secret, iterations: 1000)
  end
end

# What Rails::Application#env_config tells Action Dispatch. The settings have Rails' names.
def env_config(settings)
  digest = settings.fetch('key_generator_hash_digest_class')
  rotations = ActiveSupport::Messages::RotationConfiguration.new
  settings.fetch('retired_secret_key_bases', []).each do |secret|
    retired = key_generator(secret, digest)
    rotations.rotate :encrypted, retired.generate_key('authenticated encrypted cookie', 32)
    rotations.rotate :signed, retired.generate_key('signed cookie'), digest: 'SHA1'
  end
  {
    'action_dispatch.secret_key_base' => settings.fetch('secret_key_base'),
    'action_dispatch.key_generator' => key_generator(settings.fetch('secret_key_base'), digest),
    'action_dispatch.signed_cookie_salt' => 'signed cookie',
    'action_dispatch.encrypted_cookie_salt' => 'encrypted cookie',
    'action_dispatch.encrypted_signed_cookie_salt' => 'signed encrypted cookie',
    'action_dispatch.authenticated_encrypted_cookie_salt' => 'authenticated encrypted cookie',
    'action_dispatch.use_authenticated_cookie_encryption' =>
      settings.fetch('use_authenticated_cookie_encryption', true),
    'action_dispatch.use_cookies_with_metadata' => true,
    'action_dispatch.cookies_serializer' => :json,
    'action_dispatch.cookies_rotations' => rotations,
    'action_dispatch.cookies_same_site_protection' => ->(_request) { :lax },
    'action_dispatch.show_exceptions' => :all
  }
end

# 422 for a token that is not valid, as in production; else what went wrong, for whoever reads the test.
def exceptions(env)
  error = env['action_dispatch.exception']
  [env['PATH_INFO'].delete_prefix('/').to_i, { 'content-type' => 'text/plain' }, [error.full_message(highlight: false)]]
end

# The part of Rails' stack that has to do with cookies, in Rails' order.
def rails_application(settings)
  config = env_config(settings)
  pages = PagesController.action_methods
  session_options = { key: settings.fetch('key') }
  session_options[:expire_after] = settings['expire_after'] if settings['expire_after']

  Rack::Builder.new do
    use Rack::MethodOverride
    use ActionDispatch::ShowExceptions, method(:exceptions)
    use ActionDispatch::Cookies
    use ActionDispatch::Session::CookieStore, session_options
    use ActionDispatch::Flash
    run(lambda do |env|
      page = env['PATH_INFO'].delete_prefix('/').tr('-', '_')
      pages.include?(page) ? PagesController.action(page).call(env) : [404, {}, []]
    end)
  end.to_app.then { |app| ->(env) { app.call(env.merge!(config)) } }
end
